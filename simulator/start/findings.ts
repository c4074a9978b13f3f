/** What a run has found, and what to say of it. */
import type { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { FloorCounts, ObservedFault } from '../floor/observer.ts';
import type { StepResult } from '../output/steps.ts';
import { rateOf, secondsOf } from '../output/steps.ts';
import { writeTable } from '../output/table.ts';
import type { Output } from '../output/terminal.ts';
import type { LogErrors } from '../process/log-errors.ts';
import type { AuditCheck } from '../verify/audit.ts';
import type { Difference } from '../verify/compare.ts';

export interface Findings {
  readonly devices: number;
  readonly enrolled: number;
  readonly converged: number;
  readonly offline: number;
  readonly caughtUp: number;
  readonly rotation: {
    readonly keySet: KeySetName;
    readonly from: KeyVersionNumber;
    readonly to: KeyVersionNumber;
    /** From the approval until every device that could be reached used the new version. */
    readonly seconds: number;
    readonly reached: number;
    readonly present: number;
    readonly state: string;
  };
  readonly counts: FloorCounts;
  readonly faults: readonly ObservedFault[];
  readonly differences: readonly Difference[];
  readonly audit: AuditCheck;
  readonly gatewayErrors: LogErrors;
}

/** Of the gateway's log, of agents, and of the audit trail. */
export const errorsOf = ({ counts, gatewayErrors }: Findings): number => counts.faults + gatewayErrors.count;

export function isAllWell(findings: Findings): boolean {
  const { devices, enrolled, converged, offline, caughtUp, rotation, audit } = findings;
  const everybody = enrolled === devices && converged === devices && caughtUp === offline;
  return everybody && rotation.reached === rotation.present && audit.verified && errorsOf(findings) === 0;
}

/** The one line for programs. */
export function documentOf(findings: Findings): string {
  const { devices, enrolled, converged, offline, caughtUp, rotation, audit } = findings;
  const { keySet, from, to, seconds } = rotation;
  return JSON.stringify({
    devices,
    enrolled,
    converged,
    offline,
    caughtUp,
    rotation: { keySet, from, to, seconds: Number(seconds.toFixed(3)) },
    auditVerified: audit.verified,
    errors: errorsOf(findings),
  });
}

const SHOWN = 8;

export function writeSummary(output: Output, findings: Findings, steps: readonly StepResult[], seconds: number): void {
  output.write('\n');
  writeTable(
    output,
    [
      { title: 'what', align: 'left' },
      { title: 'how many', align: 'right' },
      { title: 'took', align: 'right' },
      { title: '', align: 'left' },
    ],
    [
      ...steps.map(({ name, count, seconds: took, note }) => [
        name,
        count === undefined ? '' : String(count),
        secondsOf(took),
        [count === undefined ? '' : rateOf(count, took).trim(), note].filter((part) => part !== '').join('  '),
      ]),
      ['in all', String(findings.devices), secondsOf(seconds), ''],
    ],
  );
  const { counts, rotation } = findings;
  output.write(
    `\n  ${counts.updates} updates and ${counts.reports} reports, all signed; ${counts.refusedUpdates} refused; ` +
      `${rotation.keySet} went from version ${rotation.from} to ${rotation.to} on ${rotation.reached} devices in ${secondsOf(rotation.seconds)}, ` +
      `and on ${findings.caughtUp} of ${findings.offline} when they came back\n`,
  );
  writeComplaints(output, findings);
}

function writeComplaints(output: Output, findings: Findings): void {
  const { devices, converged, differences, faults, gatewayErrors, audit } = findings;
  if (isAllWell(findings)) {
    output.write(
      `  ${output.paint('green', `all ${devices} devices converged, the audit trail verifies, no error was logged`)}\n`,
    );
    return;
  }
  const complaints = [
    ...(converged < devices ? [`${devices - converged} devices did not converge`] : []),
    ...differences.slice(0, SHOWN).map(({ device, what }) => `${device}: ${what}`),
    ...faults.slice(0, SHOWN).map(({ device, code, message }) => `${device}: ${code}: ${message}`),
    ...gatewayErrors.messages.slice(0, SHOWN).map((message) => `gateway: ${message}`),
    ...(audit.fault === undefined ? [] : [`audit: ${audit.fault}`]),
  ];
  for (const complaint of complaints) output.write(`  ${output.paint('red', complaint)}\n`);
}
