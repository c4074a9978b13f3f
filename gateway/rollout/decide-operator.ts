/** What people may do with a rollout, and what follows. Pure. Each refusal says what would be allowed instead. */
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { ApprovalId } from '#schema/ids.ts';
import type { KeyVersionChange, RolloutOutcome, TargetChange, TargetsOutcome } from '#gateway/ports/store/rollouts.ts';
import type { KeySetRecord, RolloutRecord, RolloutTarget, TargetTally } from '#gateway/ports/store/records.ts';
import { advance, oldVersions, retirement, rolloutEvent } from './decide.ts';
import { progressOf } from './progress.ts';

/** On whose word, and with which approval. */
export interface Word {
  readonly actor: AuditActor;
  readonly approval: AuditEvent['approval'];
  readonly now: Date;
}

interface Refusal {
  readonly kind: 'refuse';
  readonly error: CroupierError;
  readonly audit: readonly AuditEvent[];
}

function refuse(rollout: RolloutRecord, action: string, word: Word, code: ErrorCode, message: string): Refusal {
  return {
    kind: 'refuse',
    error: new CroupierError(code, message),
    audit: [rolloutEvent(rollout, action, word.actor, {}, { outcome: 'denied', code })],
  };
}

const approvalOf = ({ approval }: Word): Partial<AuditEvent> => (approval === undefined ? {} : { approval });

function wrongState(rollout: RolloutRecord, action: string, word: Word, what: string): Refusal {
  return refuse(rollout, action, word, 'rollout.state-refused', `rollout ${rollout.id} is ${rollout.state}; ${what}`);
}

export function decidePause(rollout: RolloutRecord, reason: string, word: Word): RolloutOutcome {
  if (rollout.finishedAt !== undefined) return wrongState(rollout, 'rollout.pause', word, 'it has ended');
  if (rollout.pause !== undefined)
    return wrongState(rollout, 'rollout.pause', word, `${rollout.pause.by} has paused it already`);
  return {
    kind: 'advance',
    rollout: { ...rollout, pause: { at: word.now, by: word.actor.id, code: 'rollout.halted', reason } },
    versions: [],
    due: 'none',
    audit: [rolloutEvent(rollout, 'rollout.pause', word.actor, { reason, state: rollout.state }, approvalOf(word))],
  };
}

/**
 * Goes on. The open wave is judged anew from its targets as they are: whoever resumes has mended, retried or exempted
 * what failed, or the rollout pauses again.
 */
export function decideResume(rollout: RolloutRecord, word: Word, reason?: string): RolloutOutcome {
  if (rollout.pause === undefined || rollout.finishedAt !== undefined)
    return wrongState(rollout, 'rollout.resume', word, 'it is not paused');
  const { pause } = rollout;
  const restarted = rollout.state === 'distributing' ? { waveOpenedAt: word.now } : {};
  return {
    kind: 'advance',
    rollout: { ...rollout, ...restarted, pause: undefined },
    versions: [],
    due: 'unanswered',
    audit: [
      rolloutEvent(
        rollout,
        'rollout.resume',
        word.actor,
        { pausedBy: pause.by, code: pause.code, state: rollout.state, ...(reason === undefined ? {} : { reason }) },
        approvalOf(word),
      ),
    ],
  };
}

/** Only before activation: the version was in use nowhere, so it is destroyed wherever it arrived. */
export function decideAbort(
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  reason: string,
  word: Word,
): RolloutOutcome {
  const isBefore = rollout.state === 'approved' || rollout.state === 'distributing' || rollout.state === 'ready';
  if (!isBefore)
    return wrongState(
      rollout,
      'rollout.abort',
      word,
      'only before the activation can it be aborted; start another rollout instead',
    );
  const versions: KeyVersionChange[] =
    rollout.kind === 'key-version' && keySet !== undefined
      ? [{ version: rollout.toVersion, state: 'destroyed', retired: true, erase: true }]
      : [];
  return advance(rollout, {
    state: 'aborted',
    now: word.now,
    actor: word.actor,
    details: { reason, during: rollout.state },
    versions,
    approval: word.approval,
  });
}

/** An operator retires the old versions: accepted nowhere once no device uses one for new work. */
export function decideRetire(
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  tallies: readonly TargetTally[],
  word: Word,
): RolloutOutcome {
  if (rollout.kind !== 'key-version' || keySet === undefined)
    return wrongState(rollout, 'keyset.retire', word, 'it has no old version to retire');
  if (rollout.state !== 'active')
    return wrongState(rollout, 'keyset.retire', word, 'only an active one can retire its old version');
  if (rollout.pause !== undefined) return wrongState(rollout, 'keyset.retire', word, 'it is paused; resume it first');
  const { oldInUse, signedOff } = progressOf(rollout, tallies);
  const details = { inUse: oldInUse, signedOff };
  const step = { now: word.now, actor: word.actor, details, approval: word.approval };
  return oldInUse === 0
    ? advance(rollout, { ...step, state: 'retired', versions: retirement(rollout, keySet) })
    : advance(rollout, { ...step, state: 'retiring' });
}

/** An operator, with an approval, destroys the retired versions in the gateway and on the devices (I11). */
export function decideDestroy(
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  tallies: readonly TargetTally[],
  word: Word,
): RolloutOutcome {
  if (rollout.kind !== 'key-version' || keySet === undefined)
    return wrongState(rollout, 'keyset.destroy', word, 'it has no old version to destroy');
  if (rollout.state !== 'retired') return wrongState(rollout, 'keyset.destroy', word, 'retire the old version first');
  const { oldInUse, oldHeld, signedOff } = progressOf(rollout, tallies);
  if (oldInUse > 0) {
    const message = `${oldInUse} devices may still use a version below ${rollout.toVersion}; wait for them or have them signed off`;
    return refuse(rollout, 'keyset.destroy', word, 'rollout.devices-depend', message);
  }
  return advance(rollout, {
    state: 'destroying',
    now: word.now,
    actor: word.actor,
    details: { held: oldHeld, signedOff },
    approval: word.approval,
    versions: oldVersions(rollout, keySet).map(({ version }) => ({
      version,
      state: 'destroyed',
      retired: true,
      erase: true,
    })),
  });
}

const changed = (target: RolloutTarget, change: Partial<TargetChange>): TargetChange => ({
  device: target.device,
  state: target.state,
  code: target.code,
  reason: target.reason,
  signedOff: target.signedOff,
  ...change,
});

const NAMED = 50;
const namesOf = (targets: readonly RolloutTarget[]): { devices: number; named: string[] } => ({
  devices: targets.length,
  named: targets.slice(0, NAMED).map(({ device }) => device),
});

function requireTargets(
  rollout: RolloutRecord,
  action: string,
  wanted: readonly string[],
  targets: readonly RolloutTarget[],
  word: Word,
): Refusal | undefined {
  if (rollout.finishedAt !== undefined) return wrongState(rollout, action, word, 'it has ended');
  const missing = wanted.find((device) => !targets.some((target) => target.device === device));
  if (missing === undefined) return undefined;
  return refuse(rollout, action, word, 'device.not-found', `${missing} is not a target of rollout ${rollout.id}`);
}

/** Failed targets are begun with anew. */
export function decideRetry(
  rollout: RolloutRecord,
  wanted: readonly string[],
  targets: readonly RolloutTarget[],
  word: Word,
): TargetsOutcome {
  const refusal = requireTargets(rollout, 'rollout.retry', wanted, targets, word);
  if (refusal !== undefined) return refusal;
  const failed = targets.filter(({ state }) => state === 'refused' || state === 'stalled' || state === 'overdue');
  if (failed.length === 0) return wrongState(rollout, 'rollout.retry', word, 'none of these targets has failed');
  return {
    kind: 'change',
    targets: failed.map((target) =>
      changed(target, { state: target.state === 'overdue' ? 'stored' : 'pending', code: undefined }),
    ),
    audit: [rolloutEvent(rollout, 'rollout.retry', word.actor, namesOf(failed), approvalOf(word))],
  };
}

/** Left out of this rollout; it still counts as one that depends on the old version. */
export function decideExempt(
  rollout: RolloutRecord,
  wanted: readonly string[],
  targets: readonly RolloutTarget[],
  reason: string,
  word: Word,
): TargetsOutcome {
  const refusal = requireTargets(rollout, 'rollout.exempt', wanted, targets, word);
  if (refusal !== undefined) return refusal;
  const settled = targets.find(
    ({ state }) => state === 'active' || state === 'old-retired' || state === 'old-destroyed',
  );
  if (settled !== undefined)
    return wrongState(rollout, 'rollout.exempt', word, `${settled.device} has the change already`);
  return {
    kind: 'change',
    targets: targets.map((target) => changed(target, { state: 'exempt', reason, code: undefined })),
    audit: [rolloutEvent(rollout, 'rollout.exempt', word.actor, { ...namesOf(targets), reason }, approvalOf(word))],
  };
}

/** Two people declare that named stragglers hold nothing up any more: not the retirement, not the destruction (I11). */
export function decideSignOff(
  rollout: RolloutRecord,
  wanted: readonly string[],
  targets: readonly RolloutTarget[],
  reason: string,
  approval: ApprovalId,
  word: Word,
): TargetsOutcome {
  const refusal = requireTargets(rollout, 'rollout.sign-off', wanted, targets, word);
  if (refusal !== undefined) return refusal;
  if (rollout.activatedAt === undefined)
    return wrongState(rollout, 'rollout.sign-off', word, 'before the activation nobody is a straggler; exempt instead');
  const open = targets.filter(({ signedOff }) => signedOff === undefined);
  return {
    kind: 'change',
    targets: open.map((target) => changed(target, { signedOff: approval, reason })),
    audit: [rolloutEvent(rollout, 'rollout.sign-off', word.actor, { ...namesOf(open), reason }, approvalOf(word))],
  };
}
