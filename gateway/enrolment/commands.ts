/** Commands on the inventory, on tickets and on parked requests. */
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import type { AuditEvent } from '#schema/audit.ts';
import type { DeviceId } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Authority, Command } from '#gateway/operators/command.ts';
import type { DeviceOutcome } from '#gateway/ports/store/fleet.ts';
import type { DeviceRecord, DeviceState } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';

export interface DeviceCommandPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly policy: () => Policy;
  /** The device may no longer be connected. */
  readonly onContained: (device: DeviceId, change: 'quarantined' | 'revoked') => void;
  /** The device is served again. */
  readonly onRestored: (device: DeviceId) => void;
}

const approvalOf = (authority: Authority): Pick<AuditEvent, 'approval'> =>
  authority.approval === undefined ? {} : { approval: authority.approval };

export function importCommand(ports: DeviceCommandPorts): Command<'device.import'> {
  const checkClasses = (rows: readonly { readonly id: string; readonly class: string }[]): void => {
    const known = Object.keys(ports.policy().classes);
    const stranger = rows.find((row) => !known.includes(row.class));
    if (stranger !== undefined) {
      throw new CroupierError(
        'inventory.invalid',
        `device ${stranger.id} has class ${stranger.class}, which the policy does not have; it has ${known.join(', ')}`,
      );
    }
    const seen = new Set<string>();
    for (const { id } of rows) {
      if (seen.has(id)) throw new CroupierError('inventory.invalid', `device ${id} stands in the inventory twice`);
      seen.add(id);
    }
  };
  return {
    summary: ({ rows }) => `import ${rows.length} devices`,
    count: ({ rows }) => rows.length,
    check: async ({ rows }) => checkClasses(rows),
    execute: async ({ rows }, authority) => {
      checkClasses(rows);
      await ports.store.importDevices(rows, ports.clock.now(), {
        action: 'device.import',
        outcome: 'success',
        actor: authority.actor,
        ...approvalOf(authority),
        details: { devices: rows.length, first: rows[0]?.id ?? '' },
      });
      return { imported: rows.length };
    },
  };
}

export function ticketCommand(ports: DeviceCommandPorts): Command<'device.ticket'> {
  const { store, clock, random } = ports;
  return {
    summary: ({ tickets }) =>
      tickets.length === 1 ? `ticket for ${tickets[0]?.device ?? ''}` : `tickets for ${tickets.length} devices`,
    count: ({ tickets }) => tickets.length,
    check: async ({ tickets }) => {
      for (const { device } of tickets) {
        const record = await store.deviceRecord(device);
        if (record === undefined) throw new CroupierError('device.not-found', `there is no device ${device}`);
        if (record.state.kind === 'quarantined' || record.state.kind === 'revoked')
          throw new CroupierError('device.state-refused', `${device} is ${record.state.kind}; release it first`);
      }
    },
    execute: async ({ tickets }, authority) => {
      const now = clock.now();
      const expiresAt = new Date(now.getTime() + ports.policy().tickets.validity);
      for (const { device, salt, codeHash } of tickets) {
        await store.addTicket(
          { id: random.uuid(), device, salt, codeHash, createdAt: now, createdBy: authority.actor.id, expiresAt },
          {
            action: 'device.ticket',
            outcome: 'success',
            actor: authority.actor,
            device,
            ...approvalOf(authority),
            details: { expiresAt: expiresAt.toISOString() },
          },
        );
      }
      return { devices: tickets.map(({ device }) => device), expiresAt: expiresAt.toISOString() };
    },
  };
}

type Change = (
  device: DeviceRecord,
) =>
  | { readonly state: DeviceState; readonly revoke: string | undefined; readonly resetHistory: boolean }
  | CroupierError;

async function changeDevice(
  ports: DeviceCommandPorts,
  action: string,
  id: DeviceId,
  reason: string,
  authority: Authority,
  change: Change,
): Promise<DeviceState['kind']> {
  const base = { action, actor: authority.actor, device: id, ...approvalOf(authority), details: { reason } };
  const outcome = await ports.store.decideDevice(id, ports.clock.now(), (device): DeviceOutcome => {
    const result =
      device === undefined ? new CroupierError('device.not-found', `there is no device ${id}`) : change(device);
    if (result instanceof CroupierError)
      return { kind: 'refuse', error: result, audit: [{ ...base, outcome: 'denied', code: result.code }] };
    return {
      kind: 'change',
      state: result.state,
      revokeCertificates: result.revoke,
      resetHistory: result.resetHistory,
      audit: [{ ...base, outcome: 'success' }],
    };
  });
  if (outcome.kind === 'refuse') throw outcome.error;
  return outcome.state.kind;
}

const stateRefused = (device: DeviceRecord): CroupierError =>
  new CroupierError('device.state-refused', `${device.id} is ${device.state.kind}`);

/** Why it was quarantined before still holds, and says what brings it back. */
const suspected = ({ state }: DeviceRecord): DeviceState =>
  state.kind === 'quarantined' ? state : { kind: 'quarantined', code: 'enrolment.quarantined' };

export function quarantineCommand(ports: DeviceCommandPorts): Command<'device.quarantine'> {
  return {
    summary: ({ device, reason }) => `quarantine ${device}: ${reason}`,
    execute: async ({ device, reason }, authority) => {
      const state = await changeDevice(ports, 'device.quarantine', device, reason, authority, (record) =>
        record.state.kind === 'revoked'
          ? stateRefused(record)
          : { state: suspected(record), revoke: undefined, resetHistory: false },
      );
      ports.onContained(device, 'quarantined');
      return { device, state };
    },
  };
}

export function revokeCommand(ports: DeviceCommandPorts): Command<'device.revoke'> {
  return {
    summary: ({ device, reason }) => `revoke ${device}: ${reason}`,
    execute: async ({ device, reason }, authority) => {
      const state = await changeDevice(ports, 'device.revoke', device, reason, authority, (record) =>
        record.state.kind === 'revoked'
          ? stateRefused(record)
          : { state: { kind: 'revoked' }, revoke: 'keyCompromise', resetHistory: false },
      );
      ports.onContained(device, 'revoked');
      return { device, state };
    },
  };
}

/** Quarantined because its reports are not one history: releasing it as it is would end with its next report. */
const isHistoryBroken = ({ state }: DeviceRecord): boolean =>
  state.kind === 'quarantined' && HISTORY_CODES.has(state.code);

const HISTORY_CODES: ReadonlySet<ErrorCode> = new Set(['report.regressed', 'report.forked']);

const servedAgain = (record: DeviceRecord): DeviceState => ({
  kind: record.currentSerial === undefined ? 'registered' : 'enrolled',
});

/** A restoration: checked when it is asked for, and refused where the device was contained after that. */
function restoringCommand<A extends 'device.release' | 'device.re-baseline'>(
  ports: DeviceCommandPorts,
  action: A,
  what: string,
  change: Change,
): Command<A> {
  return {
    summary: ({ device, reason }) => `${what} ${device}: ${reason}`,
    check: async ({ device }) => {
      const record = await ports.store.deviceRecord(device);
      if (record === undefined) throw new CroupierError('device.not-found', `there is no device ${device}`);
      const result = change(record);
      if (result instanceof CroupierError) throw result;
    },
    execute: async ({ device, reason }, authority) => {
      const { askedAt } = authority;
      const state = await changeDevice(ports, action, device, reason, authority, (record) =>
        askedAt !== undefined && record.stateSince > askedAt
          ? new CroupierError(
              'device.state-refused',
              `${device} has become ${record.state.kind} since somebody asked to ${what} it; look at it and ask again`,
            )
          : change(record),
      );
      ports.onRestored(device);
      return { device, state };
    },
  };
}

/** A quarantined device is served again and goes on where it was; a revoked one may enrol again. */
export function releaseCommand(ports: DeviceCommandPorts): Command<'device.release'> {
  return restoringCommand(ports, 'device.release', 'release', (record) => {
    if (record.state.kind === 'revoked')
      return { state: { kind: 'registered' }, revoke: undefined, resetHistory: true };
    if (record.state.kind !== 'quarantined') return stateRefused(record);
    if (isHistoryBroken(record)) {
      return new CroupierError(
        'device.state-refused',
        `${record.id} is quarantined because its reports are not one history (${record.state.code}); once that is explained, re-baseline it`,
      );
    }
    return { state: servedAgain(record), revoke: undefined, resetHistory: false };
  });
}

/**
 * A device whose storage went back in time, or that was copied, is served again from what it has now: its next report
 * begins a new history, and what it proved before counts as offered.
 */
export function reBaselineCommand(ports: DeviceCommandPorts): Command<'device.re-baseline'> {
  return restoringCommand(ports, 'device.re-baseline', 're-baseline', (record) => {
    if (isHistoryBroken(record)) return { state: servedAgain(record), revoke: undefined, resetHistory: true };
    return new CroupierError(
      'device.state-refused',
      record.state.kind === 'quarantined'
        ? `${record.id} is quarantined, but not because of its reports (${record.state.code}): release it`
        : `${record.id} is ${record.state.kind}; only a device that is quarantined because of its reports is re-baselined`,
    );
  });
}

export function approveEnrolmentCommand(ports: DeviceCommandPorts): Command<'enrolment.approve'> {
  return {
    summary: ({ enrolment, device }) => `approve enrolment ${enrolment}${device === undefined ? '' : ` as ${device}`}`,
    execute: async ({ enrolment, device: assigned }, authority) => {
      const outcome = await ports.store.decideRequest(enrolment, ports.clock.now(), (request, find) => {
        const base = {
          action: 'enrolment.approve',
          actor: authority.actor,
          object: { type: 'enrolment', id: enrolment },
        };
        const refuse = (error: CroupierError) => ({
          kind: 'refuse' as const,
          error,
          audit: [{ ...base, outcome: 'denied' as const, code: error.code }],
        });
        if (request?.state !== 'pending')
          return refuse(new CroupierError('input.invalid', `there is no pending enrolment request ${enrolment}`));
        const device = assigned ?? request.device;
        if (device === undefined)
          return refuse(
            new CroupierError(
              'input.invalid',
              'the request names no device of the inventory; say which one with --device',
            ),
          );
        const record = find(device);
        if (record === undefined) return refuse(new CroupierError('device.not-found', `there is no device ${device}`));
        if (record.state.kind === 'quarantined' || record.state.kind === 'revoked') return refuse(stateRefused(record));
        return {
          kind: 'decide',
          state: 'approved',
          device,
          by: authority.actor.id,
          audit: [{ ...base, outcome: 'success', device }],
        };
      });
      if (outcome.kind === 'refuse') throw outcome.error;
      return { enrolment, state: outcome.state, device: outcome.device ?? null };
    },
  };
}

export function refuseEnrolmentCommand(ports: DeviceCommandPorts): Command<'enrolment.refuse'> {
  return {
    summary: ({ enrolment, reason }) => `refuse enrolment ${enrolment}: ${reason}`,
    execute: async ({ enrolment, reason }, authority) => {
      const outcome = await ports.store.decideRequest(enrolment, ports.clock.now(), (request) => {
        const base = {
          action: 'enrolment.refuse',
          actor: authority.actor,
          object: { type: 'enrolment', id: enrolment },
          details: { reason },
        };
        if (request?.state !== 'pending' && request?.state !== 'approved') {
          const error = new CroupierError('input.invalid', `there is no open enrolment request ${enrolment}`);
          return { kind: 'refuse', error, audit: [{ ...base, outcome: 'denied', code: error.code }] };
        }
        return {
          kind: 'decide',
          state: 'refused',
          device: request.device,
          by: authority.actor.id,
          audit: [{ ...base, outcome: 'success' }],
        };
      });
      if (outcome.kind === 'refuse') throw outcome.error;
      return { enrolment, state: outcome.state };
    },
  };
}
