/** How far a rollout is: what its targets proved, as bars and as words. Pure. */
import type { RolloutHoldView, RolloutSummaryView, RolloutView, WaveProgressView } from '#schema/api/views.ts';
import type { ProgressState } from '../output/progress.ts';

type Subject = Pick<RolloutSummaryView, 'kind' | 'keySet' | 'fromVersion' | 'toVersion' | 'campaign'>;

/** What a rollout brings, shortly. */
export function nameOf({ kind, keySet, toVersion }: Subject): string {
  switch (kind) {
    case 'key-version':
      return `${keySet} ${toVersion}`;
    case 'trust-bundle':
      return `trust bundle ${toVersion}`;
    case 're-enrolment':
      return 're-enrolment';
  }
}

/** What a rollout changes. */
export function subjectOf(rollout: Subject): string {
  const { kind, keySet, fromVersion, toVersion, campaign } = rollout;
  switch (kind) {
    case 'key-version':
      return `${keySet}: version ${fromVersion} to ${toVersion}`;
    case 'trust-bundle':
      return `trust bundle ${fromVersion} to ${toVersion}`;
    case 're-enrolment':
      return `re-enrolment (${campaign?.cause})`;
  }
}

/** Targets that have to answer, those that did, and those whose absence holds nothing up. */
interface Reached {
  readonly done: number;
  readonly total: number;
  readonly offline: number;
  readonly failed: number;
}

/** Targets that use the change. */
export function usingTargets({ kind, progress }: RolloutView): Reached {
  const { byState } = progress;
  const leftOut = (byState.superseded ?? 0) + (byState.quarantined ?? 0) + (byState.exempt ?? 0);
  const late = kind === 'key-version' ? progress.overdue : 0;
  return {
    done: progress.using,
    total: progress.total - leftOut,
    offline: progress.offlineBehind,
    failed: progress.waves.reduce((sum, { failed }) => sum + failed, 0) + late,
  };
}

/** Whether every target that can answer now uses the change, or the rollout has ended otherwise. */
export function hasConverged({ state, pause, finishedAt, activatedAt, progress }: RolloutView): boolean {
  if (finishedAt !== null) return true;
  return pause === null && activatedAt !== null && state !== 'approved' && progress.reachableUnused === 0;
}

const NAMED = 3;

/** What holds it back, with the first names. */
export function holdText({ message, targets, until, devices }: RolloutHoldView): string {
  const names = devices.slice(0, NAMED).map(({ device }) => device);
  const more = targets - names.length;
  const who = names.length === 0 ? '' : ` (${names.join(', ')}${more > 0 ? ` and ${more} more` : ''})`;
  return `${message}${who}${until === null ? '' : `, until ${until}`}`;
}

function noteOf({ offline, failed }: Pick<Reached, 'offline' | 'failed'>, holds: readonly RolloutHoldView[]): string {
  const [first] = holds;
  const notes = [
    ...(offline === 0 ? [] : [`${offline} offline`]),
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(first === undefined ? [] : [holdText(first)]),
  ];
  return notes.join(', ');
}

const isUnderWay = ({ state }: WaveProgressView): boolean => state === 'open' || state === 'soaking';

function waveState(rollout: RolloutView, name: string): ProgressState {
  const { progress, wave, holds } = rollout;
  const open = progress.waves.find(isUnderWay) ?? progress.waves.at(-1);
  if (open === undefined) return { label: name, done: 0, total: 0, note: noteOf({ offline: 0, failed: 0 }, holds) };
  const which = wave.of === 1 ? '' : ` wave ${open.name} (${open.wave + 1} of ${wave.of})`;
  const what = rollout.kind === 'key-version' ? 'stored' : 'in use';
  return { label: `${name}${which} ${what}`, done: open.done, total: open.total, note: noteOf(open, holds) };
}

function unpausedState(rollout: RolloutView): ProgressState {
  const { state, progress, holds } = rollout;
  const name = nameOf(rollout);
  const old = (what: string, left: number): ProgressState => ({
    label: `${name} old version ${what}`,
    done: progress.total - left,
    total: progress.total,
    note: noteOf({ offline: 0, failed: 0 }, holds),
  });
  switch (state) {
    case 'approved':
      return {
        label: `${name} approved`,
        done: 0,
        total: progress.total,
        note: noteOf({ offline: 0, failed: 0 }, holds),
      };
    case 'distributing':
    case 'ready':
      return waveState(rollout, name);
    case 'active': {
      const using = usingTargets(rollout);
      const mine = holds.filter(({ reason }) => reason === 'deferred' || reason === 'activation');
      return { label: `${name} active`, done: using.done, total: using.total, note: noteOf(using, mine) };
    }
    case 'retiring':
      return old('out of use', progress.oldInUse);
    case 'retired':
    case 'destroying':
    case 'destroyed':
      return old('destroyed', progress.oldHeld);
    case 'completed':
    case 'aborted':
    case 'superseded':
    case 'compromised': {
      const { done, total } = usingTargets(rollout);
      return { label: `${name} ${state}`, done, total };
    }
  }
}

/** What a bar shows for the present state of the rollout. A pause is another label, so that it is told at once. */
export function progressOf(rollout: RolloutView): ProgressState {
  const state = unpausedState(rollout);
  const { pause, holds } = rollout;
  if (pause === null) return state;
  const held = holds.find(({ reason }) => reason === 'paused');
  return { ...state, label: `${state.label}, paused`, note: held === undefined ? pause.reason : holdText(held) };
}

/** One sentence for the end. */
export function summaryOf(rollout: RolloutView): string {
  const { done, total, offline, failed } = usingTargets(rollout);
  const { state, pause } = rollout;
  const where = pause === null ? state : `paused (${state}): ${pause.reason}`;
  const using = `${done} of ${total} devices use it`;
  const catchUp = offline === 0 ? '' : `; ${offline} offline will catch up when they return`;
  const trouble = failed === 0 ? '' : `; ${failed} failed: see croupier rollout show`;
  return `${subjectOf(rollout)} is ${where}; ${using}${catchUp}${trouble}\n`;
}
