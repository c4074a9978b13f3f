/** What `croupier-sim floor` has seen. */
import type { ErrorCode } from '#schema/errors.ts';
import { BEHAVIOUR_KINDS } from '../floor/behaviour.ts';
import type { FloorCounts } from '../floor/observer.ts';
import type { DevicePlan } from '../floor/plan.ts';
import { rateOf, secondsOf, type StepResult } from '../output/steps.ts';
import { writeTable } from '../output/table.ts';
import type { Output } from '../output/terminal.ts';
import type { Difference } from '../verify/compare.ts';

export interface FloorReport {
  readonly seed: string;
  readonly plans: readonly DevicePlan[];
  /** Devices that hold all that the gateway wants them to hold. */
  readonly atGoal: number;
  readonly counts: FloorCounts;
  /** Of difficult devices too, so they are told and do not count against the floor. */
  readonly faults: ReadonlyMap<ErrorCode, number>;
  readonly differences: readonly Difference[];
}

export const isAllWell = ({ plans, atGoal, differences }: FloorReport): boolean =>
  atGoal === plans.length && differences.length === 0;

/** How many devices have each behaviour. */
function troublesOf(plans: readonly DevicePlan[]): Readonly<Record<string, number>> {
  const entries = BEHAVIOUR_KINDS.map((kind) => [
    kind,
    plans.filter(({ behaviours }) => behaviours.some((behaviour) => behaviour.kind === kind)).length,
  ]);
  return Object.fromEntries(entries.filter(([, count]) => count !== 0));
}

export function documentOf({ seed, plans, atGoal, counts, faults, differences }: FloorReport): string {
  return JSON.stringify({
    seed,
    devices: plans.length,
    behaviours: troublesOf(plans),
    converged: atGoal,
    agreeing: plans.length - differences.length,
    ...counts,
    faultCodes: Object.fromEntries(faults),
    differences,
  });
}

const SHOWN = 10;

export function writeReport(output: Output, report: FloorReport, steps: readonly StepResult[]): void {
  const { plans, atGoal, counts, faults, differences } = report;
  output.write('\n');
  writeTable(
    output,
    [
      { title: 'what', align: 'left' },
      { title: 'how many', align: 'right' },
      { title: 'took', align: 'right' },
      { title: '', align: 'left' },
    ],
    steps.map(({ name, count, seconds, note }) => [
      name,
      count === undefined ? '' : String(count),
      secondsOf(seconds),
      [count === undefined ? '' : rateOf(count, seconds).trim(), note].filter((part) => part !== '').join('  '),
    ]),
  );
  const troubles = Object.entries(troublesOf(plans)).map(([kind, count]) => `${kind} ${count}`);
  const lines = [
    ...(troubles.length === 0 ? [] : [`troubles: ${troubles.join(', ')}`]),
    `${counts.enrolments} enrolments, ${counts.connections} connections, ${counts.renewals} renewals, ${counts.clocksSet} clocks set`,
    `updates: ${counts.updates} taken, ${counts.deferredUpdates} of them deferred, ${counts.repeatedUpdates} repeated, ${counts.refusedUpdates} refused`,
    `reports: ${counts.reports}, ${Math.round(counts.reportOctets / 1024)} KiB`,
    ...[...faults].map(([code, count]) => `${code}: ${count}`),
  ];
  output.write(`\n${lines.map((line) => `  ${line}\n`).join('')}`);
  const verdict = `${atGoal} of ${plans.length} devices converged; ${plans.length - differences.length} agree with the gateway`;
  output.write(`  ${output.paint(isAllWell(report) ? 'green' : 'red', verdict)}\n`);
  for (const { device, what } of differences.slice(0, SHOWN)) output.write(`  ${device}: ${what}\n`);
}
