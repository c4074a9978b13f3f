/** Whether a device may be given a rollout's change now. */
import type { DeviceRecord, RolloutRecord, RolloutTarget } from '#gateway/ports/store/records.ts';
import type { SiteWindows } from './window.ts';
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

/** When the rate lets the place in the wave begin; undefined while the wave is not open. */
function turnOf(rollout: RolloutRecord, target: RolloutTarget | undefined): Date | undefined {
  const { rate } = rollout.plan;
  if (target === undefined || rate === null || target.wave !== rollout.wave) return rollout.waveOpenedAt;
  if (rollout.waveOpenedAt === undefined) return undefined;
  return new Date(rollout.waveOpenedAt.getTime() + Math.floor(target.position / rate.targets) * rate.perMs);
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
  const turn = turnOf(rollout, target);
  if (turn === undefined) return closed('wave');
  const begin = turn > now ? turn : now;
  if (rollout.plan.windows === 'respect') {
    const window = windows.at(device.site, begin);
    if (!window.open) return closed(begin > now ? 'rate' : 'window', window.opensAt);
  }
  return begin > now ? closed('rate', begin) : OPEN;
}
