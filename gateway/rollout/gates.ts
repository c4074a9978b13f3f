/** What a rollout waits for, judged from measured progress, never from elapsed time alone (D§9). Pure. */
import type { RolloutPlan } from '#schema/rollout-plan.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { RolloutProgress, WaveProgress } from './progress.ts';

export type HoldReason =
  | 'preparing'
  | 'start-time'
  | 'paused'
  | 'wave-unproven'
  | 'wave-waiting'
  | 'wave-vanished'
  | 'wave-failing'
  | 'soak'
  | 'nothing-stored'
  | 'services'
  | 'quorum'
  | 'activation'
  | 'deferred'
  | 'old-in-use'
  | 'old-held'
  | 'behind';

/** One thing that holds a rollout back: why, how many targets, and until when if that is known. */
export interface Hold {
  readonly reason: HoldReason;
  readonly message: string;
  readonly targets: number;
  readonly until: Date | undefined;
}

export type WaveVerdict =
  | { readonly kind: 'passed' }
  /** Too much went wrong: the rollout pauses. */
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'waits'; readonly hold: Hold };

const hold = (reason: HoldReason, message: string, targets = 0, until?: Date): Hold => ({
  reason,
  message,
  targets,
  until,
});

const things = (count: number, one: string, many: string): string => (count === 1 ? `1 ${one}` : `${count} ${many}`);
const targetsOf = (count: number): string => things(count, 'target', 'targets');
const percent = (fraction: number): string => `${Math.round(fraction * 1000) / 10} %`;

/** More failed than the plan allows, once enough were executed to tell. */
function tooManyErrors(plan: RolloutPlan, executed: number, failed: number, total: number): string | undefined {
  if (failed === 0 || executed < Math.min(plan.minimumSample, total)) return undefined;
  if (failed / executed <= plan.errors) return undefined;
  return `${failed} of ${executed} executed targets failed, the plan allows ${percent(plan.errors)}`;
}

/** Whether the wave would fail if nobody came back who has left since being asked: the change itself may have taken them down. */
function wouldFail(plan: RolloutPlan, { done, failed, vanished, total }: WaveProgress): boolean {
  const executed = done + failed + vanished;
  return tooManyErrors(plan, executed, failed + vanished, total) !== undefined || done / executed < plan.success;
}

/**
 * The open wave, over its executed targets: those that have the change, refused it or stalled. Targets that were offline
 * before they were asked hold up no wave, unless nothing at all was proved yet.
 */
export function judgeWave(rollout: RolloutRecord, progress: RolloutProgress): WaveVerdict {
  const { plan } = rollout;
  const opened = progress.waves.filter(({ wave }) => wave <= rollout.wave);
  const open = opened.at(-1);
  if (open === undefined || open.total === 0) return { kind: 'passed' };
  const sum = (of: (wave: WaveProgress) => number): number => opened.reduce((total, wave) => total + of(wave), 0);
  const executed = open.done + open.failed;
  const everExecuted = sum(({ done, failed }) => done + failed);
  const errors =
    tooManyErrors(plan, executed, open.failed, open.total) ??
    tooManyErrors(
      plan,
      everExecuted,
      sum(({ failed }) => failed),
      sum(({ total }) => total),
    );
  if (errors !== undefined)
    return { kind: 'failed', code: 'rollout.errors-exceeded', message: `wave ${open.name}: ${errors}` };
  if (open.waiting > 0) {
    const message = `wave ${open.name}: ${targetsOf(open.waiting)} connected and not done`;
    return { kind: 'waits', hold: hold('wave-waiting', message, open.waiting) };
  }
  if (open.vanished > 0 && wouldFail(plan, open)) {
    const message = `wave ${open.name}: ${targetsOf(open.vanished)} left after being asked and must return in time, or the wave fails`;
    return { kind: 'waits', hold: hold('wave-vanished', message, open.vanished) };
  }
  const sample = Math.min(plan.minimumSample, open.total);
  if (executed < sample && everExecuted < plan.minimumSample) {
    const message = `wave ${open.name}: ${executed} of ${sample} targets needed for a judgement were executed; ${open.offline} are offline`;
    return { kind: 'waits', hold: hold('wave-unproven', message, open.offline) };
  }
  if (executed > 0 && open.done / executed < plan.success) {
    const message = `wave ${open.name}: ${open.done} of ${executed} executed targets succeeded, the plan wants ${percent(plan.success)}`;
    if (open.offline === 0) return { kind: 'failed', code: 'rollout.errors-exceeded', message };
    return { kind: 'waits', hold: hold('wave-failing', message, open.failed) };
  }
  return { kind: 'passed' };
}

/** Services of opened waves that have failed or are not there, once the wave is open for longer than the plan gives a device. */
export function laggingServices(rollout: RolloutRecord, progress: RolloutProgress, now: Date): number {
  const open = progress.waves[rollout.wave];
  if (open === undefined || rollout.waveOpenedAt === undefined) return 0;
  const isLate = now.getTime() - rollout.waveOpenedAt.getTime() > rollout.plan.timeoutMs;
  const lagging = progress.waves
    .filter(({ wave }) => wave <= rollout.wave)
    .reduce((total, { servicesLagging }) => total + servicesLagging, 0);
  return isLate ? lagging : 0;
}

/**
 * Whether a step forward, or a pause because of a service, would rest on targets of the opened waves that are not there.
 * A gateway that has just started knows nobody to be there: what looks like a wave of absent devices may be a whole floor
 * about to come back.
 */
export function restsOnAbsence(rollout: RolloutRecord, progress: RolloutProgress): boolean {
  if (rollout.state !== 'distributing' && rollout.state !== 'ready') return false;
  return progress.waves.some(({ wave, offline }) => wave <= rollout.wave && offline > 0);
}

/** Why activation has to wait, or undefined when it need not. */
export function activationHold(rollout: Pick<RolloutRecord, 'plan'>, progress: RolloutProgress): Hold | undefined {
  const stored = progress.waves.reduce((total, { done }) => total + done, 0);
  const counted = progress.waves.reduce((total, wave) => total + wave.total, 0);
  if (counted > 0 && stored === 0) return hold('nothing-stored', 'no device has stored the version yet');
  if (progress.servicesUnstored > 0) {
    const message = `${things(progress.servicesUnstored, 'service', 'services')} must store it first`;
    return hold('services', message, progress.servicesUnstored);
  }
  const reachable = progress.reachableStored + progress.reachableUnstored;
  if (progress.reachableUnstored > 0 && progress.reachableStored < reachable * rollout.plan.quorum) {
    const message = `${things(progress.reachableUnstored, 'connected device has', 'connected devices have')} not stored it; the plan wants ${percent(rollout.plan.quorum)} of those that can be reached`;
    return hold('quorum', message, progress.reachableUnstored);
  }
  return undefined;
}

/** Whether too many devices do not use what was activated. */
export function activationErrors(rollout: RolloutRecord, progress: RolloutProgress): string | undefined {
  const executed = progress.using + progress.overdue;
  const errors = tooManyErrors(rollout.plan, executed, progress.overdue, progress.total);
  return errors === undefined ? undefined : `activation: ${errors}`;
}

function distributionHolds(rollout: RolloutRecord, progress: RolloutProgress): readonly Hold[] {
  const verdict = judgeWave(rollout, progress);
  if (verdict.kind === 'waits') return [verdict.hold];
  if (verdict.kind === 'failed')
    return [hold('wave-failing', verdict.message, progress.waves[rollout.wave]?.failed ?? 0)];
  const soakMs = rollout.plan.waves[rollout.wave]?.soakMs ?? 0;
  const { waveSettledAt } = rollout;
  if (waveSettledAt === undefined || soakMs === 0) return [];
  const until = new Date(waveSettledAt.getTime() + soakMs);
  return [hold('soak', `wave ${rollout.plan.waves[rollout.wave]?.name ?? ''} soaks`, 0, until)];
}

/** Everything that holds a rollout back now, the most telling first; empty when it moves or has ended. */
export function holdsOf(rollout: RolloutRecord, progress: RolloutProgress, now: Date): readonly Hold[] {
  if (rollout.finishedAt !== undefined) return [];
  const holds: Hold[] = [];
  if (rollout.pause !== undefined) holds.push(hold('paused', `${rollout.pause.by} paused it: ${rollout.pause.reason}`));
  switch (rollout.state) {
    case 'approved':
      if (rollout.preparedAt === undefined) holds.push(hold('preparing', 'its targets are being recorded'));
      if (rollout.startAt > now) holds.push(hold('start-time', 'it has not begun', 0, rollout.startAt));
      break;
    case 'distributing':
      holds.push(...distributionHolds(rollout, progress));
      break;
    case 'ready': {
      const waits = activationHold(rollout, progress);
      if (waits !== undefined) holds.push(waits);
      break;
    }
    case 'active':
    case 'retiring':
      if (progress.deferred > 0)
        holds.push(
          hold(
            'deferred',
            `${things(progress.deferred, 'device defers', 'devices defer')} the activation`,
            progress.deferred,
          ),
        );
      if (progress.overdue > 0)
        holds.push(
          hold(
            'activation',
            `${things(progress.overdue, 'device does', 'devices do')} not use it in time`,
            progress.overdue,
          ),
        );
      if (rollout.kind !== 'key-version') {
        const behind = progress.waves.reduce((total, wave) => total + wave.total - wave.done, 0);
        if (behind > 0)
          holds.push(hold('behind', `${things(behind, 'target has', 'targets have')} not reached it`, behind));
      } else if (progress.oldInUse > 0)
        holds.push(
          hold(
            'old-in-use',
            `${things(progress.oldInUse, 'device', 'devices')} may use an old version`,
            progress.oldInUse,
          ),
        );
      break;
    case 'destroying':
      if (progress.oldHeld > 0)
        holds.push(
          hold(
            'old-held',
            `${things(progress.oldHeld, 'device has', 'devices have')} not destroyed the old versions`,
            progress.oldHeld,
          ),
        );
      break;
    case 'retired':
    case 'destroyed':
    case 'completed':
    case 'aborted':
    case 'superseded':
    case 'compromised':
  }
  return holds;
}
