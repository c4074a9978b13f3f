/** Watches the cryptoperiods: starts what the policy says starts by itself, and says once what is due or overdue. */
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { Log } from '#gateway/ports/log.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';
import { rotationsDue, type RotationStanding } from '#gateway/rollout/cryptoperiod.ts';
import { checkedPlan } from '#gateway/rollout/planning.ts';
import { nextRotation, startRotation, type KeyCommandPorts } from './commands.ts';

const ACTOR: AuditActor = { type: 'gateway', id: 'cryptoperiod' };
/** Cryptoperiods are days: a quarter of an hour is soon enough, and a policy that was applied rings. */
const EVERY_MS = 900_000;
const OPEN_LIMIT = 1_000;

/** What is to be said about a key set now: once for each version and standing. Pure. */
export function noticeOf(standing: RotationStanding): AuditEvent | undefined {
  const { keySet, version, state, dueAt, endsAt, start, plan } = standing;
  if (state !== 'due' && state !== 'overdue') return undefined;
  if (start === 'manual' && state === 'due') return undefined;
  const code = state === 'due' ? 'keyset.rotation-due' : 'keyset.rotation-overdue';
  return {
    action: code,
    outcome: 'success',
    code,
    actor: ACTOR,
    object: { type: 'keyset', id: keySet },
    details: {
      version: version ?? null,
      dueAt: dueAt?.toISOString() ?? null,
      endsAt: endsAt?.toISOString() ?? null,
      start,
      plan,
    },
  };
}

export interface RotationKeeperPorts extends KeyCommandPorts {
  readonly log: Log;
}

export function createRotationKeeper(ports: RotationKeeperPorts): Worker {
  const { store, clock, log, policy } = ports;

  const start = async ({ keySet, plan }: RotationStanding): Promise<void> => {
    const terms = await checkedPlan(ports, await nextRotation(ports, keySet), { plan });
    await startRotation(ports, keySet, terms, { actor: ACTOR, approval: undefined }, { supersede: false });
    log.info({ keySet, plan }, 'rotation started: the cryptoperiod ends');
  };

  const look = async (standing: RotationStanding): Promise<void> => {
    const { keySet, state, version } = standing;
    const notice = noticeOf(standing);
    if (notice === undefined) return;
    const isAutomatic = standing.start === 'automatic';
    if (!isAutomatic || state === 'overdue')
      await store.noteOnce(`rotation:${keySet}`, `${version ?? 0} ${state}`, notice, clock.now());
    if (isAutomatic) await start(standing);
  };

  const worker: Worker = createWorker(
    clock,
    async () => {
      worker.ringAt(new Date(clock.now().getTime() + EVERY_MS));
      const open = await store.rollouts(true, OPEN_LIMIT);
      for (const standing of rotationsDue(await store.keySets(), policy(), open, clock.now())) {
        try {
          await look(standing);
        } catch (error) {
          log.error(
            { keySet: standing.keySet, code: errorCode(error) },
            `rotation not started: ${errorMessage(error)}; it is tried again`,
          );
        }
      }
    },
    (error) => log.error({ code: errorCode(error) }, `cryptoperiods not looked at: ${errorMessage(error)}`),
  );
  return worker;
}
