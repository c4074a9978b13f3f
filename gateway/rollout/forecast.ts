/** When the waves of a plan can open at the earliest. */
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { SiteWindows } from './window.ts';
import { forEachInWork, type Work } from './work.ts';

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
export function* earliestWaves(
  plan: RolloutPlan,
  waves: readonly (readonly Place[])[],
  windows: SiteWindows,
  from: Date,
): Work<readonly EarliestWave[]> {
  const { rate, minimumSample } = plan;
  const times: EarliestWave[] = [];
  let opens = from.getTime();
  for (const [index, places] of waves.entries()) {
    const opened = new Date(opens);
    if (!Number.isFinite(opens)) {
      times.push({ opensAt: undefined, beginsAt: undefined });
      continue;
    }
    const begins: number[] = [];
    let lastConnected = -Infinity;
    yield* forEachInWork(places, ({ position, site, connected }) => {
      const wait = rate === null ? 0 : Math.floor(position / rate.targets) * rate.perMs;
      const at = windows.afterOpen(site, opened, wait)?.getTime() ?? Infinity;
      begins.push(at);
      if (connected) lastConnected = Math.max(lastConnected, at);
    });
    const ordered = Float64Array.from(begins).sort();
    const sample = ordered[Math.min(minimumSample, ordered.length) - 1] ?? opens;
    opens = Math.max(lastConnected, sample) + (plan.waves[index]?.soakMs ?? 0);
    times.push({ opensAt: opened, beginsAt: dateOf(ordered[0] ?? Infinity) });
    yield undefined;
  }
  return times;
}
