/** When the waves of a plan can open at the earliest. */
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { SiteWindows } from './window.ts';

export interface EarliestWave {
  /** When it can open; undefined for never. */
  readonly opensAt: Date | undefined;
  /** When the first of its targets can be begun with. */
  readonly beginsAt: Date | undefined;
}

interface Place {
  readonly position: number;
  readonly site: string;
  readonly connected: boolean;
}

const dateOf = (ms: number): Date | undefined => (Number.isFinite(ms) ? new Date(ms) : undefined);

/**
 * As if every device answered at once: when the targets that are connected, and at least the minimum sample, can have
 * been begun with by rate and windows, the wave passes; then it soaks, and the next one opens.
 */
export function earliestWaves(
  plan: RolloutPlan,
  waves: readonly (readonly Place[])[],
  windows: SiteWindows,
  from: Date,
): readonly EarliestWave[] {
  const { rate, minimumSample } = plan;
  let opens = from.getTime();
  return waves.map((places, index) => {
    const opened = opens;
    if (!Number.isFinite(opened)) return { opensAt: undefined, beginsAt: undefined };
    const begins = places
      .map(({ position, site, connected }) => {
        const wait = rate === null ? 0 : Math.floor(position / rate.targets) * rate.perMs;
        return { connected, at: windows.afterOpen(site, new Date(opened), wait)?.getTime() ?? Infinity };
      })
      .sort((a, b) => a.at - b.at);
    const last = begins.findLastIndex(({ connected }) => connected);
    const passed = begins[Math.max(last, Math.min(minimumSample, begins.length) - 1)]?.at ?? opened;
    opens = passed + (plan.waves[index]?.soakMs ?? 0);
    return { opensAt: new Date(opened), beginsAt: dateOf(begins[0]?.at ?? Infinity) };
  });
}
