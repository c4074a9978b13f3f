/** Gauges of rollouts and cryptoperiods. Counts come from the store's tallies, so that a scrape reads a few rows. */
import { Gauge, type Registry } from '@prometheus-io/client';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { rotationsDue } from '#gateway/rollout/cryptoperiod.ts';
import { holdsOf } from '#gateway/rollout/gates.ts';
import { progressOf } from '#gateway/rollout/progress.ts';

export interface RolloutMetricsPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly policy: () => Policy;
}

const MOST_COUNTED = 1_000;
/** Open rollouts beyond these have no gauges of their own, so that a scrape stays small. */
const MOST_ROLLOUTS = 50;

const NAMES = ['rollout', 'kind', 'key_set', 'version'] as const;
type Labels = Record<(typeof NAMES)[number], string>;

function labelsOf(rollout: RolloutRecord): Labels {
  const { id, kind } = rollout;
  const keySet = rollout.kind === 'key-version' ? rollout.keySet : '';
  const version = rollout.kind === 're-enrolment' ? '' : String(rollout.toVersion);
  return { rollout: id, kind, key_set: keySet, version };
}

/** Registers the gauges; what is returned sets all of them from the store. Errors: `store.unavailable`. */
export function rolloutGauges(registry: Registry, { store, clock, policy }: RolloutMetricsPorts): () => Promise<void> {
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[]): Gauge<Label> =>
    new Gauge({ name: `croupier_${name}`, help, labelNames: [...labelNames], registers: [registry] });

  const open = gauge('rollouts_open', 'Rollouts that have not ended', ['kind', 'state']);
  const paused = gauge('rollouts_paused', 'Open rollouts that are paused, by why', ['code']);
  const wave = gauge('rollout_wave', 'Waves of the rollout that are open or passed', NAMES);
  const targets = gauge('rollout_targets', 'Targets of open rollouts', [...NAMES, 'state']);
  const offline = gauge('rollout_targets_offline', 'Targets not connected that are behind', NAMES);
  const oldInUse = gauge('rollout_targets_old_in_use', 'Targets that may use an old key version', NAMES);
  const holds = gauge('rollout_holds', 'What holds an open rollout back now', [...NAMES, 'reason']);
  const keySets = gauge('key_sets', 'Key sets by where they stand in their cryptoperiod', ['rotation']);
  const periodEnd = gauge('key_set_period_end_seconds', 'When the cryptoperiod ends, Unix time', ['key_set']);

  const readRollout = async (rollout: RolloutRecord): Promise<void> => {
    const detail = await store.rollout(rollout.id);
    if (detail === undefined) return;
    const labels = labelsOf(rollout);
    const progress = progressOf(detail.rollout, detail.tallies);
    wave.set(labels, detail.rollout.waveOpenedAt === undefined ? 0 : detail.rollout.wave + 1);
    offline.set(labels, progress.offlineBehind);
    oldInUse.set(labels, progress.oldInUse);
    for (const [state, count] of Object.entries(progress.byState)) targets.set({ ...labels, state }, count);
    for (const { reason } of holdsOf(detail.rollout, progress, clock.now())) holds.set({ ...labels, reason }, 1);
  };

  return async () => {
    for (const one of [open, paused, wave, targets, offline, oldInUse, holds, keySets, periodEnd]) one.reset();
    const rollouts = await store.rollouts(true, MOST_COUNTED);
    for (const { kind, state, pause } of rollouts) {
      open.inc({ kind, state });
      if (pause !== undefined) paused.inc({ code: pause.code });
    }
    for (const rollout of rollouts.slice(0, MOST_ROLLOUTS)) await readRollout(rollout);
    for (const { keySet, state, endsAt } of rotationsDue(await store.keySets(), policy(), rollouts, clock.now())) {
      keySets.inc({ rotation: state });
      if (endsAt !== undefined) periodEnd.set({ key_set: keySet }, endsAt.getTime() / 1000);
    }
  };
}
