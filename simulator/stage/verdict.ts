/** What is to be said in the end: both sides are asked about every device, and judged by the invariants. */
import { join } from 'node:path';
import type { StepResult } from '../output/steps.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { checkAudit, type AuditCheck } from '../verify/audit.ts';
import { containedDifferenceOf, differenceOf, lookAtAll } from '../verify/compare.ts';
import { judgeInvariants, messagesOf, type DeviceEvidence } from '../verify/invariants.ts';
import { readTrail, type Trail } from '../verify/trail.ts';
import type { ScenarioResult } from './result.ts';
import { waitInStep } from './settle.ts';
import type { Stage } from './stage.ts';

export interface RunSoFar {
  /** Grows as steps are done. */
  readonly steps: readonly StepResult[];
  /** When it began, by `performance.now()`. */
  readonly begun: number;
  readonly gateway: ScenarioResult['gateway'];
}

/** Errors: those of the gateway. What does not hold is in the result. */
export async function verdictOf(
  stage: Stage,
  scenario: Scenario,
  { steps, begun, gateway }: RunSoFar,
): Promise<ScenarioResult> {
  const { floor, contained, traffic } = stage;
  const expected = stage.devices.filter((id) => !contained.has(id));
  await stage.step('in step again', (step) => waitInStep(stage, expected, step), laggards, expected.length);
  const devices = await stage.step(
    'devices and gateway',
    (step) => bothSides(stage, (agreeing) => step.progress(agreeing)),
    undefined,
    floor.plans.length,
  );
  const [audit, trail] = await stage.step(
    'audit trail',
    () => auditOf(stage),
    ([{ verified, records }]) => (verified ? `${records} records verified` : 'broken'),
  );
  const { items: keySets } = await stage.client.call('keyset.list', {});
  const { latest } = await stage.client.call('trust.list', { query: {} });
  stage.noteKeySets(keySets);
  await confirmQuietLog(stage);
  const invariants = judgeInvariants({
    devices,
    contained,
    trust: latest ?? undefined,
    keySets,
    activations: stage.keys.activations,
    signedOff: stage.signedOff,
    changes: stage.keys.changes,
    trail,
    audit,
  });
  const messages = stage.devices
    .map((id) => ({ id, count: messagesOf(traffic.of(id)) }))
    .sort((a, b) => b.count - a.count);
  const sum = messages.reduce((total, { count }) => total + count, 0);
  return {
    scenario: scenario.name,
    title: titleOf(scenario),
    seed: stage.seed,
    devices: floor.plans.length,
    gateway,
    steps: [...steps],
    seconds: (performance.now() - begun) / 1000,
    checks: stage.checks,
    invariants,
    messages: { mean: sum / messages.length, max: messages[0]?.count ?? 0, maxDevice: messages[0]?.id ?? '' },
  };
}

export const titleOf = ({ away, back }: Scenario): string => `${away}; ${back}`;

const laggards = (behind: readonly string[]): string => (behind.length === 0 ? '' : `${behind.length} are not`);

async function bothSides(stage: Stage, onProgress: (agreeing: number) => void): Promise<readonly DeviceEvidence[]> {
  const { floor, client, contained, chronicle, traffic } = stage;
  const { records } = await lookAtAll(
    client,
    floor.observer,
    (device, record) =>
      contained.has(device.plan.id) ? containedDifferenceOf(device, record) : differenceOf(device, record),
    onProgress,
  );
  return [...records].map(([id, record]) => ({
    history: chronicle.of(id),
    device: stage.observed(id),
    record,
    traffic: traffic.of(id),
  }));
}

async function auditOf({ gateway, operators, directory }: Stage): Promise<readonly [AuditCheck, Trail]> {
  const file = join(directory, 'audit.jsonl');
  const audit = await checkAudit(gateway.directory, operators, file);
  return [audit, await readTrail(file)];
}

async function confirmQuietLog(stage: Stage): Promise<void> {
  const { count, messages } = await stage.gateway.logErrors((message) =>
    stage.expectedErrors.some((part) => message.includes(part)),
  );
  stage.confirm('the gateway has logged no error', count === 0 ? undefined : `${count} errors: ${messages.join('; ')}`);
}
