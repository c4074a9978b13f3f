/** Where rollouts and their targets can be (D§9): stored, decided on, and shown under these names. */

/**
 * A request that waits for its approval is the draft; `approved` waits for its targets to be recorded or for its start
 * time. A key version goes all the way; a trust bundle and a re-enrolment have nothing to retire and are `completed`
 * after `active`. Being paused is no state (docs/decisions/011).
 */
export const ROLLOUT_STATES = [
  'approved',
  'distributing',
  'ready',
  'active',
  'retiring',
  'retired',
  'destroying',
  'destroyed',
  'completed',
  'aborted',
  'superseded',
  'compromised',
] as const;
export type RolloutState = (typeof ROLLOUT_STATES)[number];

export const TARGET_STATES = [
  'pending',
  'offered',
  'stored',
  /** Stored, told to use it, and not using it in time. */
  'overdue',
  'active',
  'old-retired',
  'old-destroyed',
  'refused',
  'stalled',
  'superseded',
  'quarantined',
  'exempt',
] as const;
export type TargetState = (typeof TARGET_STATES)[number];

/**
 * What a target has of the versions before the rollout's. `in-use`: it was given one, or proved to hold one stored or
 * active, and has not proved to use the rollout's version or a later one. `waived`: two people signed it off.
 */
export const OLD_VERSION_STATES = ['in-use', 'held', 'gone', 'waived'] as const;
export type OldVersionState = (typeof OLD_VERSION_STATES)[number];
