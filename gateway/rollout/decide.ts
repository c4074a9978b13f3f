/**
 * When a rollout moves on (D§9). Pure: the same function runs under the gateway's clock and under the model's.
 *
 * Everything it looks at was proved by signed reports; being connected only decides for whom it waits.
 */
import { CroupierError } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { KeyVersionChange, RolloutOutcome, RolloutProgress } from '#gateway/ports/store/keys.ts';
import type { KeySetRecord, RolloutRecord, RolloutState } from '#gateway/ports/store/records.ts';

const GATEWAY: AuditActor = { type: 'gateway', id: 'rollout' };

function event(
  rollout: RolloutRecord,
  action: string,
  actor: AuditActor,
  details: NonNullable<AuditEvent['details']>,
): AuditEvent {
  return {
    action,
    outcome: 'success',
    actor,
    object: { type: 'rollout', id: rollout.id },
    details: { keySet: rollout.keySet, from: rollout.fromVersion, to: rollout.toVersion, ...details },
  };
}

function advance(
  rollout: RolloutRecord,
  state: RolloutState,
  versions: readonly KeyVersionChange[],
  actor: AuditActor,
  details: NonNullable<AuditEvent['details']>,
): RolloutOutcome {
  return {
    kind: 'advance',
    state,
    versions,
    finished: state === 'destroyed',
    audit: [event(rollout, `rollout.${state}`, actor, details)],
  };
}

/** Why activation has to wait, or undefined when it need not. */
export function activationHold(progress: RolloutProgress): string | undefined {
  const stored = progress.byState.stored ?? 0;
  if (progress.total > 0 && stored === 0) return 'no device has stored the version yet';
  if (progress.servicesUnstored > 0) return `${progress.servicesUnstored} of the services must store it first`;
  if (progress.reachableUnstored > 0) return `${progress.reachableUnstored} connected devices have not stored it`;
  return undefined;
}

function activation(rollout: RolloutRecord, keySet: KeySetRecord): readonly KeyVersionChange[] {
  const changes: KeyVersionChange[] = [{ version: rollout.toVersion, state: 'active', retired: false, erase: false }];
  for (const version of keySet.versions) {
    if (version.state === 'active')
      changes.push({ version: version.version, state: 'deactivated', retired: false, erase: false });
  }
  return changes;
}

/** Whether a rollout in this state may take a step by itself; in the others it waits for people. */
export function advancesByItself(state: RolloutState): boolean {
  return state === 'distributing' || state === 'ready' || state === 'retiring' || state === 'destroying';
}

/** The step that follows by itself from what the devices proved. */
export function decideProgress(
  rollout: RolloutRecord,
  keySet: KeySetRecord,
  progress: RolloutProgress,
): RolloutOutcome {
  switch (rollout.state) {
    case 'distributing':
      return activationHold(progress) === undefined
        ? advance(rollout, 'ready', [], GATEWAY, {
            stored: progress.byState.stored ?? 0,
            offline: progress.offlineBehind,
          })
        : { kind: 'stay' };
    case 'ready':
      // Since it became ready, a service may have come back from quarantine.
      return activationHold(progress) === undefined
        ? advance(rollout, 'active', activation(rollout, keySet), GATEWAY, {})
        : { kind: 'stay' };
    case 'retiring':
      return progress.oldInUse === 0
        ? advance(
            rollout,
            'retired',
            [{ version: rollout.fromVersion, state: 'deactivated', retired: true, erase: false }],
            GATEWAY,
            {},
          )
        : { kind: 'stay' };
    case 'destroying':
      return progress.oldHeld === 0 ? advance(rollout, 'destroyed', [], GATEWAY, {}) : { kind: 'stay' };
    case 'active':
    case 'retired':
    case 'destroyed':
      return { kind: 'stay' };
  }
}

function refuse(
  rollout: RolloutRecord | undefined,
  action: string,
  actor: AuditActor,
  error: CroupierError,
): RolloutOutcome {
  const object = rollout === undefined ? {} : { object: { type: 'rollout', id: rollout.id } };
  return { kind: 'refuse', error, audit: [{ action, outcome: 'denied', code: error.code, actor, ...object }] };
}

/** An operator retires the old version: accepted nowhere once no device uses it for new work. */
export function decideRetire(rollout: RolloutRecord, progress: RolloutProgress, actor: AuditActor): RolloutOutcome {
  if (rollout.state !== 'active') {
    return refuse(
      rollout,
      'keyset.retire',
      actor,
      new CroupierError(
        'rollout.state-refused',
        `the rollout is ${rollout.state}; only an active one can retire its old version`,
      ),
    );
  }
  const held = { inUse: progress.oldInUse };
  return progress.oldInUse === 0
    ? advance(
        rollout,
        'retired',
        [{ version: rollout.fromVersion, state: 'deactivated', retired: true, erase: false }],
        actor,
        held,
      )
    : advance(rollout, 'retiring', [], actor, held);
}

/** An operator, with an approval, destroys the retired version in the gateway and on the devices (I11). */
export function decideDestroy(rollout: RolloutRecord, progress: RolloutProgress, actor: AuditActor): RolloutOutcome {
  if (rollout.state !== 'retired') {
    return refuse(
      rollout,
      'keyset.destroy',
      actor,
      new CroupierError('rollout.state-refused', `the rollout is ${rollout.state}; retire the old version first`),
    );
  }
  if (progress.oldInUse > 0) {
    return refuse(
      rollout,
      'keyset.destroy',
      actor,
      new CroupierError(
        'rollout.devices-depend',
        `${progress.oldInUse} devices still use version ${rollout.fromVersion}`,
        { detail: { devices: progress.oldInUse } },
      ),
    );
  }
  return advance(
    rollout,
    'destroying',
    [{ version: rollout.fromVersion, state: 'destroyed', retired: true, erase: true }],
    actor,
    { held: progress.oldHeld },
  );
}
