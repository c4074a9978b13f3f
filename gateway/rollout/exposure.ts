/** Whether a device may be given a rollout's change now. */
import type { DeviceRecord, RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import type { SiteWindows, WindowAt } from './window.ts';
import { waveOfLatecomer } from './waves.ts';

export type Exposure =
  | { readonly open: true }
  | {
      readonly open: false;
      /** When it opens by itself, if that is known. */
      readonly at: Date | undefined;
      readonly why: 'state' | 'paused' | 'wave' | 'rate' | 'window' | 'exempt' | 'quarantined';
    };

const OPEN: Exposure = { open: true };

const closed = (why: Extract<Exposure, { open: false }>['why'], at?: Date): Exposure => ({ open: false, at, why });

function isServed({ kind, state }: RolloutRecord): boolean {
  return state === 'distributing' || state === 'ready' || (state === 'active' && kind !== 'key-version');
}

/** How long after the opening of its wave the rate lets a target begin. */
function waitOf({ plan, wave }: RolloutRecord, target: RolloutTarget | undefined): number {
  if (plan.rate === null || target === undefined || target.wave !== wave) return 0;
  return Math.floor(target.position / plan.rate.targets) * plan.rate.perMs;
}

/**
 * Whether a target may be begun with at this time. One that was begun with stays open whatever the waves do, even while
 * the rollout is paused; one that is pending needs its wave, its turn by the rate, and its site's window. `target` is
 * undefined for a device that came after the rollout had begun.
 */
export function exposure(
  rollout: RolloutRecord,
  target: RolloutTarget | undefined,
  device: Pick<DeviceRecord, 'id' | 'class' | 'site' | 'labels'>,
  windows: SiteWindows,
  now: Date,
): Exposure {
  if (target?.state === 'exempt' || target?.state === 'quarantined') return closed(target.state);
  if (rollout.state === 'approved') return closed('state', rollout.startAt > now ? rollout.startAt : undefined);
  if (!isServed(rollout) || target?.state === 'superseded') return closed('state');
  if (target !== undefined && target.state !== 'pending') return OPEN;
  if (rollout.pause !== undefined) return closed('paused');
  if ((target?.wave ?? waveOfLatecomer(rollout.plan, device)) > rollout.wave) return closed('wave');
  const { plan, waveOpenedAt: opened } = rollout;
  if (opened === undefined) return closed('wave');
  const wait = waitOf(rollout, target);
  const isBound = plan.windows === 'respect';
  // Only time in which the site is open counts, or all who waited for a window would begin when it opens.
  const turn = isBound ? windows.afterOpen(device.site, opened, wait) : new Date(opened.getTime() + wait);
  const isTurn = wait === 0 || (turn !== undefined && turn <= now);
  const window: WindowAt = isBound ? windows.at(device.site, now) : { open: true, until: undefined };
  if (!window.open) return closed('window', isTurn ? window.opensAt : turn);
  return isTurn ? OPEN : closed('rate', turn);
}
