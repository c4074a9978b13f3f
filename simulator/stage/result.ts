/** What a run of a scenario has found. */
import type { InvariantResult, Violation } from '../verify/invariants.ts';
import type { StepResult } from '../output/steps.ts';

/** Something that this scenario says must come of it. */
export interface CheckResult {
  readonly what: string;
  /** Devices or facts that were looked at. */
  readonly checked: number;
  readonly violations: readonly Violation[];
}

export interface ScenarioResult {
  readonly scenario: string;
  readonly title: string;
  readonly seed: string;
  readonly devices: number;
  readonly gateway: 'own' | 'running';
  readonly steps: readonly StepResult[];
  readonly seconds: number;
  readonly checks: readonly CheckResult[];
  readonly invariants: readonly InvariantResult[];
  /** Messages in both directions, of each device. */
  readonly messages: { readonly mean: number; readonly max: number; readonly maxDevice: string };
}

export const isHeld = ({ violations }: { readonly violations: readonly Violation[] }): boolean =>
  violations.length === 0;

/** Whether everything holds that was looked at. */
export const isAllWell = ({ checks, invariants }: ScenarioResult): boolean =>
  checks.every(isHeld) && invariants.every(isHeld);
