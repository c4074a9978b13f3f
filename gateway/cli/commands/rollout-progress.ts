/** How far a rollout is: what its targets proved, as bars and as words. Pure. */
import type { RolloutView } from '#schema/api/views.ts';
import type { ProgressState } from '../output/progress.ts';

type Progress = RolloutView['progress'];

const count = ({ byState }: Progress, states: readonly (keyof Progress['byState'])[]): number =>
  states.reduce((sum, state) => sum + (byState[state] ?? 0), 0);

/** Targets for which a rollout does not wait. */
const outOf = (progress: Progress): number => count(progress, ['superseded', 'quarantined', 'exempt']);

const USING = ['active', 'old-retired', 'old-destroyed'] as const;

/** Targets that have to answer, those that did, and those whose absence holds nothing up. */
export interface Reached {
  readonly done: number;
  readonly total: number;
  readonly offline: number;
  readonly failed: number;
}

/** Targets that stored the new version, or are further. */
export function storedTargets(progress: Progress): Reached {
  return { done: count(progress, ['stored', ...USING]), ...rest(progress) };
}

/** Targets that use the new version. */
export function activeTargets(progress: Progress): Reached {
  return { done: count(progress, USING), ...rest(progress) };
}

function rest(progress: Progress): Omit<Reached, 'done'> {
  return {
    total: progress.total - outOf(progress),
    offline: progress.offlineBehind,
    failed: count(progress, ['refused', 'stalled']),
  };
}

/** Whether every target that can answer now uses the new version. */
export function hasConverged({ state, progress }: RolloutView): boolean {
  if (state === 'distributing' || state === 'ready') return false;
  const { done, total, offline, failed } = activeTargets(progress);
  return done + offline + failed >= total;
}

/** What a bar shows for the present state of the rollout. */
export function progressOf({ keySet, toVersion, state, progress, hold }: RolloutView): ProgressState {
  const name = `${keySet} ${toVersion}`;
  switch (state) {
    case 'distributing':
    case 'ready':
      return { label: `${name} stored`, ...bar(storedTargets(progress), hold) };
    case 'active':
      return { label: `${name} active`, ...bar(activeTargets(progress), null) };
    case 'retiring':
      return {
        label: `${name} old version out of use`,
        done: progress.total - progress.oldInUse,
        total: progress.total,
      };
    case 'retired':
    case 'destroying':
    case 'destroyed':
      return { label: `${name} old version destroyed`, done: progress.total - progress.oldHeld, total: progress.total };
  }
}

function bar({ done, total, offline, failed }: Reached, hold: string | null): Omit<ProgressState, 'label'> {
  const notes = [
    ...(offline === 0 ? [] : [`${offline} offline`]),
    ...(failed === 0 ? [] : [`${failed} refused or stalled`]),
    ...(hold === null ? [] : [hold]),
  ];
  return { done, total, note: notes.join(', ') };
}

/** One sentence for the end. */
export function summaryOf({ keySet, fromVersion, toVersion, state, progress }: RolloutView): string {
  const { done, total, offline, failed } = activeTargets(progress);
  const using = `${done} of ${total} devices use it`;
  const catchUp = offline === 0 ? '' : `; ${offline} offline will catch up when they return`;
  const trouble = failed === 0 ? '' : `; ${failed} refused or stalled: see croupier rollout show`;
  return `${keySet}: version ${fromVersion} to ${toVersion} is ${state}; ${using}${catchUp}${trouble}\n`;
}
