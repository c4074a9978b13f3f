/** Where the targets of a rollout stand that has gone on for a while: every state, most of them where most are. Pure. */
import type { TargetState } from '#gateway/ports/store/records.ts';
import type { DeviceKeyState } from '#schema/messages/report.ts';

export interface Standing {
  readonly state: TargetState;
  /** Percent of the targets. */
  readonly share: number;
  /** What the device proves of the version before and of the rollout's; `offered` is the gateway's own word. */
  readonly old: DeviceKeyState;
  readonly own: DeviceKeyState | 'offered' | undefined;
  readonly deferred?: true;
}

export const STANDINGS: readonly Standing[] = [
  { state: 'pending', share: 6, old: 'active', own: undefined },
  { state: 'offered', share: 3, old: 'active', own: 'offered' },
  { state: 'refused', share: 2, old: 'active', own: 'offered' },
  { state: 'stalled', share: 2, old: 'active', own: 'offered' },
  { state: 'stored', share: 35, old: 'active', own: 'stored' },
  { state: 'stored', share: 2, old: 'active', own: 'stored', deferred: true },
  { state: 'overdue', share: 2, old: 'active', own: 'stored' },
  { state: 'active', share: 40, old: 'stored', own: 'active' },
  { state: 'old-retired', share: 4, old: 'retired', own: 'active' },
  { state: 'old-destroyed', share: 1, old: 'destroyed', own: 'active' },
  { state: 'superseded', share: 1, old: 'active', own: undefined },
  { state: 'exempt', share: 1, old: 'active', own: undefined },
  { state: 'quarantined', share: 1, old: 'active', own: undefined },
];

/** The standing of the target of this number: any hundred in a row have the shares above. */
export function standingOf(number: number): Standing {
  let below = 0;
  for (const standing of STANDINGS) {
    below += standing.share;
    if (number % 100 < below) return standing;
  }
  throw new RangeError('the shares do not make a hundred');
}

/** A fifth of the floor is away; of a device that is being served nobody is. */
export const isAway = (number: number): boolean =>
  standingOf(number).state === 'pending' || Math.floor(number / 100) % 6 === 0;
