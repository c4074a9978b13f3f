/**
 * When a rollout moves on by itself (D§9). Pure: the same function runs under the gateway's clock and under the model's.
 *
 * Everything it looks at was proved by signed reports; being connected only decides for whom it waits.
 */
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { KeyVersionChange, RolloutOutcome } from '#gateway/ports/store/rollouts.ts';
import type { KeySetRecord, RolloutRecord, RolloutState, TargetTally } from '#gateway/ports/store/records.ts';
import { activationErrors, activationHold, judgeWave, laggingServices } from './gates.ts';
import { progressOf, type RolloutProgress } from './progress.ts';

const GATEWAY: AuditActor = { type: 'gateway', id: 'rollout' };

type Details = NonNullable<AuditEvent['details']>;

/** What the rollout carries, for audit records. */
export function subjectDetails(rollout: RolloutRecord): Details {
  switch (rollout.kind) {
    case 'key-version':
      return { keySet: rollout.keySet, from: rollout.fromVersion, to: rollout.toVersion };
    case 'trust-bundle':
      return { trust: rollout.toVersion };
    case 're-enrolment':
      return { campaign: rollout.campaign.reason };
  }
}

export function rolloutEvent(
  rollout: RolloutRecord,
  action: string,
  actor: AuditActor,
  details: Details,
  rest: Partial<AuditEvent> = {},
): AuditEvent {
  return {
    action,
    outcome: 'success',
    actor,
    object: { type: 'rollout', id: rollout.id },
    ...rest,
    details: { ...subjectDetails(rollout), ...details },
  };
}

export interface Step {
  readonly state: RolloutState;
  readonly now: Date;
  readonly actor: AuditActor;
  readonly details: Details;
  readonly versions?: readonly KeyVersionChange[];
  readonly due?: 'none' | 'unanswered' | 'all';
  readonly approval?: AuditEvent['approval'];
}

const ENDS: ReadonlySet<RolloutState> = new Set(['destroyed', 'completed', 'aborted', 'superseded', 'compromised']);

/** The rollout in another state, with its times and its audit record. */
export function advance(rollout: RolloutRecord, step: Step): RolloutOutcome {
  const { state, now, actor, details } = step;
  const since = (wanted: RolloutState, before: Date | undefined): Date | undefined =>
    before ?? (state === wanted ? now : undefined);
  const begins = state === 'distributing' && rollout.state === 'approved';
  const rest = step.approval === undefined ? {} : { approval: step.approval };
  return {
    kind: 'advance',
    rollout: {
      ...rollout,
      state,
      ...(begins ? { wave: 0, waveOpenedAt: now, waveSettledAt: undefined } : {}),
      activatedAt: since('active', rollout.activatedAt),
      retiredAt: since('retired', rollout.retiredAt),
      finishedAt: ENDS.has(state) ? (rollout.finishedAt ?? now) : undefined,
    },
    versions: step.versions ?? [],
    due: step.due ?? ((step.versions?.length ?? 0) > 0 ? 'all' : 'none'),
    audit: [rolloutEvent(rollout, `rollout.${state}`, actor, details, rest)],
  };
}

function pauseByItself(rollout: RolloutRecord, code: ErrorCode, reason: string, now: Date): RolloutOutcome {
  return {
    kind: 'advance',
    rollout: { ...rollout, pause: { at: now, by: 'the gateway', code, reason } },
    versions: [],
    due: 'none',
    audit: [rolloutEvent(rollout, 'rollout.pause', GATEWAY, { reason, state: rollout.state }, { code })],
  };
}

const STAY: RolloutOutcome = { kind: 'stay', until: undefined };
const stayUntil = (at: number): RolloutOutcome => ({ kind: 'stay', until: new Date(at) });

function waveStep(
  rollout: RolloutRecord,
  action: string,
  change: Partial<Pick<RolloutRecord, 'wave' | 'waveOpenedAt' | 'waveSettledAt'>>,
  due: 'none' | 'unanswered',
): RolloutOutcome {
  const next = { ...rollout, ...change };
  const wave = rollout.plan.waves[next.wave]?.name ?? '';
  return {
    kind: 'advance',
    rollout: next,
    versions: [],
    due,
    audit: [rolloutEvent(rollout, action, GATEWAY, { wave })],
  };
}

/** Versions that a rollout replaces: all below its own that are not gone yet. */
export function oldVersions(rollout: RolloutRecord, keySet: KeySetRecord): KeySetRecord['versions'] {
  if (rollout.kind !== 'key-version') return [];
  return keySet.versions.filter(
    ({ version, state }) => version < rollout.toVersion && state !== 'destroyed' && state !== 'pre-activation',
  );
}

function activation(rollout: RolloutRecord, keySet: KeySetRecord): readonly KeyVersionChange[] {
  if (rollout.kind !== 'key-version') return [];
  const replaced = keySet.versions.filter(({ state }) => state === 'active');
  return [
    { version: rollout.toVersion, state: 'active', retired: false, erase: false },
    ...replaced.map(({ version, compromisedAt }): KeyVersionChange => {
      const state = compromisedAt === undefined ? 'deactivated' : 'compromised';
      return { version, state, retired: false, erase: false };
    }),
  ];
}

/** All old versions, accepted nowhere any more. */
export function retirement(rollout: RolloutRecord, keySet: KeySetRecord): readonly KeyVersionChange[] {
  return oldVersions(rollout, keySet)
    .filter(({ retiredAt }) => retiredAt === undefined)
    .map(({ version, state }) => ({
      version,
      state: state === 'compromised' ? ('compromised' as const) : ('deactivated' as const),
      retired: true,
      erase: false,
    }));
}

function decideDistribution(rollout: RolloutRecord, progress: RolloutProgress, now: Date): RolloutOutcome {
  const verdict = judgeWave(rollout, progress);
  if (verdict.kind === 'failed') return pauseByItself(rollout, verdict.code, verdict.message, now);
  const { waveOpenedAt, waveSettledAt, plan, wave } = rollout;
  if (verdict.kind === 'waits') {
    const lagging = laggingServices(rollout, progress, now);
    const open = progress.waves[wave];
    if (lagging > 0 && open !== undefined && open.waiting + open.servicesBehind > 0 && open.waiting <= lagging)
      return pauseByItself(rollout, 'rollout.service-lags', `${lagging} services have not stored the change`, now);
    const late = (waveOpenedAt?.getTime() ?? 0) + plan.timeoutMs + 1;
    return late > now.getTime() && progress.servicesUnstored > 0 ? stayUntil(late) : STAY;
  }
  if (waveSettledAt === undefined && (plan.waves[wave]?.soakMs ?? 0) > 0)
    return waveStep(rollout, 'rollout.wave-soaks', { waveSettledAt: now }, 'none');
  const soaked = (waveSettledAt?.getTime() ?? 0) + (plan.waves[wave]?.soakMs ?? 0);
  if (waveSettledAt !== undefined && now.getTime() < soaked) return stayUntil(soaked);
  if (wave + 1 < plan.waves.length) {
    const next = { wave: wave + 1, waveOpenedAt: now, waveSettledAt: undefined };
    return waveStep(rollout, 'rollout.wave-opened', next, 'unanswered');
  }
  const state = rollout.kind === 'key-version' ? 'ready' : 'active';
  const details = { stored: progress.byState.stored ?? 0, offline: progress.offlineBehind };
  return advance(rollout, { state, now, actor: GATEWAY, details, due: state === 'active' ? 'all' : 'none' });
}

function decideActivation(
  rollout: RolloutRecord,
  keySet: KeySetRecord,
  progress: RolloutProgress,
  now: Date,
): RolloutOutcome {
  // Since it became ready, a service may have come back from quarantine.
  const waits = activationHold(rollout, progress);
  if (waits === undefined)
    return advance(rollout, {
      state: 'active',
      now,
      actor: GATEWAY,
      details: {},
      versions: activation(rollout, keySet),
    });
  const late = (rollout.waveOpenedAt?.getTime() ?? 0) + rollout.plan.timeoutMs + 1;
  if (waits.reason !== 'services') return STAY;
  if (now.getTime() < late) return stayUntil(late);
  return laggingServices(rollout, progress, now) === 0
    ? STAY
    : pauseByItself(rollout, 'rollout.service-lags', waits.message, now);
}

/** Errors after the activation, and devices that are still behind long after it. */
function watchActive(rollout: RolloutRecord, progress: RolloutProgress, now: Date): RolloutOutcome {
  const errors = activationErrors(rollout, progress);
  if (errors !== undefined) return pauseByItself(rollout, 'rollout.errors-exceeded', errors, now);
  const { stragglers } = rollout.plan;
  const behind =
    rollout.kind === 'key-version'
      ? progress.oldInUse
      : progress.waves.reduce((total, wave) => total + wave.total - wave.done, 0);
  if (behind === 0 || stragglers.action === 'wait' || rollout.stragglersAt !== undefined) return STAY;
  const since = (rollout.activatedAt ?? now).getTime() + stragglers.afterMs;
  if (now.getTime() < since) return stayUntil(since);
  return {
    kind: 'advance',
    rollout: { ...rollout, stragglersAt: now },
    versions: [],
    due: 'none',
    audit: [
      rolloutEvent(
        rollout,
        'rollout.stragglers',
        GATEWAY,
        { devices: behind, since: rollout.activatedAt?.toISOString() ?? '' },
        { code: 'rollout.stragglers' },
      ),
    ],
  };
}

/** What a later rollout of the key set did with this one's old versions counts for this one, too. */
function overtaken(rollout: RolloutRecord, keySet: KeySetRecord): RolloutState | undefined {
  const old = oldVersions(rollout, keySet);
  if (old.length === 0) return rollout.state === 'destroying' ? undefined : 'destroying';
  const isRetired = old.every(({ retiredAt }) => retiredAt !== undefined);
  return isRetired && (rollout.state === 'active' || rollout.state === 'retiring') ? 'retired' : undefined;
}

function decideAfterwards(
  rollout: RolloutRecord,
  keySet: KeySetRecord,
  progress: RolloutProgress,
  now: Date,
): RolloutOutcome {
  const state = overtaken(rollout, keySet);
  if (state !== undefined) return advance(rollout, { state, now, actor: GATEWAY, details: { overtaken: true } });
  if (rollout.state === 'retiring' && progress.oldInUse === 0) {
    return advance(rollout, {
      state: 'retired',
      now,
      actor: GATEWAY,
      details: { signedOff: progress.signedOff },
      versions: retirement(rollout, keySet),
    });
  }
  if (rollout.state === 'destroying' && progress.oldHeld === 0)
    return advance(rollout, { state: 'destroyed', now, actor: GATEWAY, details: { signedOff: progress.signedOff } });
  return rollout.state === 'active' || rollout.state === 'retiring' ? watchActive(rollout, progress, now) : STAY;
}

/** A trust bundle or a re-enrolment is complete when nobody is behind. */
function decideCompletion(rollout: RolloutRecord, progress: RolloutProgress, now: Date): RolloutOutcome {
  if (rollout.preparedAt === undefined) return STAY;
  const behind = progress.waves.reduce((total, wave) => total + wave.total - wave.done, 0);
  if (behind > 0) return watchActive(rollout, progress, now);
  return advance(rollout, { state: 'completed', now, actor: GATEWAY, details: {} });
}

/**
 * The step that follows by itself. `keySet` is that of a key version. Being paused stops all of them but the destruction
 * that was begun, which only collects receipts.
 */
export function decideProgress(
  rollout: RolloutRecord,
  keySet: KeySetRecord | undefined,
  tallies: readonly TargetTally[],
  now: Date,
): RolloutOutcome {
  if (rollout.finishedAt !== undefined) return STAY;
  if (rollout.pause !== undefined && rollout.state !== 'destroying') return STAY;
  const progress = progressOf(rollout, tallies);
  switch (rollout.state) {
    case 'approved':
      if (rollout.preparedAt === undefined) return STAY;
      if (now < rollout.startAt) return stayUntil(rollout.startAt.getTime());
      return advance(rollout, {
        state: 'distributing',
        now,
        actor: GATEWAY,
        details: { targets: progress.total, plan: rollout.plan.name },
        due: 'unanswered',
      });
    case 'distributing':
      return decideDistribution(rollout, progress, now);
    case 'ready':
      return keySet === undefined ? STAY : decideActivation(rollout, keySet, progress, now);
    case 'active':
    case 'retiring':
    case 'retired':
    case 'destroying':
      if (rollout.kind !== 'key-version') return decideCompletion(rollout, progress, now);
      return keySet === undefined ? STAY : decideAfterwards(rollout, keySet, progress, now);
    case 'destroyed':
    case 'completed':
    case 'aborted':
    case 'superseded':
    case 'compromised':
      return STAY;
  }
}
