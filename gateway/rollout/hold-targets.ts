/** Which targets stand behind what holds a rollout back. Pure. */
import type { TargetFilter } from '#gateway/ports/store/rollouts.ts';
import {
  OLD_VERSION_STATES,
  TARGET_STATES,
  type RolloutRecord,
  type TargetState,
} from '#gateway/ports/store/records.ts';
import type { HoldReason } from './gates.ts';
import { standingOf, type TargetStanding } from './progress.ts';
import { askedStates } from './unanswered.ts';

export type HeldBy = Omit<TargetFilter, 'after' | 'limit'>;

function statesOf(kind: RolloutRecord['kind'], ...standings: readonly TargetStanding[]): readonly TargetState[] {
  return TARGET_STATES.filter((state) => standings.includes(standingOf(kind, state)));
}

/** Who was signed off is not expected to take a bundle or a certificate. */
const NOT_WAIVED = OLD_VERSION_STATES.filter((old) => old !== 'waived');

/** A quarantined device is never counted as one that depends on an old version. */
const SERVED: readonly TargetState[] = TARGET_STATES.filter((state) => state !== 'quarantined');

/**
 * The targets that a hold of this reason counts; undefined when it is not about targets. A pause is about those that
 * made the rollout pause by itself: failed ones, or services that are behind.
 */
export function heldBy(rollout: RolloutRecord, reason: HoldReason): HeldBy | undefined {
  const { kind, wave, pause } = rollout;
  const expected = kind === 'key-version' ? {} : { old: NOT_WAIVED };
  switch (reason) {
    case 'preparing':
    case 'start-time':
    case 'soak':
      return undefined;
    case 'paused':
      if (pause?.code === 'rollout.errors-exceeded')
        return { states: [...new Set<TargetState>([...statesOf(kind, 'failed'), 'overdue'])] };
      return pause?.code === 'rollout.service-lags'
        ? { service: true, states: statesOf(kind, 'waiting', 'failed') }
        : undefined;
    case 'wave-unproven':
      return { wave, online: false, states: statesOf(kind, 'waiting'), ...expected };
    case 'wave-waiting':
      return { wave, online: true, states: statesOf(kind, 'waiting'), ...expected };
    case 'wave-vanished':
      return { wave, online: false, states: askedStates(kind), ...expected };
    case 'wave-failing':
      return { wave, states: statesOf(kind, 'failed'), ...expected };
    case 'nothing-stored':
      return { states: statesOf(kind, 'waiting', 'failed'), ...expected };
    case 'services':
      return { service: true, states: statesOf(kind, 'waiting', 'failed'), ...expected };
    case 'quorum':
      return { online: true, states: statesOf(kind, 'waiting'), ...expected };
    case 'activation':
      return { states: ['overdue'] };
    case 'deferred':
      return { deferred: true };
    case 'old-in-use':
      return { old: ['in-use'], states: SERVED };
    case 'old-held':
      return { old: ['in-use', 'held'], states: SERVED };
    case 'behind':
      return { states: statesOf(kind, 'waiting', 'failed'), ...expected };
  }
}
