/** The side that faces the floor's connections: broker, reports in, updates out, rollouts on. */
import { rolloutChanged } from '../api/views/rollouts.ts';
import type { EmbeddedBroker, Denial } from '../broker/embedded.ts';
import { createEmbeddedBroker } from '../broker/embedded.ts';
import { TokenBucket } from '../broker/rate-limit.ts';
import type { BrokerTls } from '../broker/tls.ts';
import { createDispatcher } from '../delivery/dispatcher.ts';
import { InFlight } from '../delivery/in-flight.ts';
import { createIntake } from '../delivery/intake.ts';
import { connectedPages, createPresenceKeeper } from '../delivery/presence.ts';
import { createClientAuthorizer } from '../enrolment/client-certificate.ts';
import { errorMessage } from '#schema/errors.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Worker } from '../ports/worker.ts';
import { createRolloutDriver } from '../rollout/driver.ts';
import { announceTrust } from '../trust/publish.ts';
import type { Foundation } from './foundation.ts';

export interface Floor {
  readonly broker: EmbeddedBroker;
  readonly dispatcher: Worker;
  readonly rollouts: Worker;
  /** Puts the latest bundle that every device may have on the retained topic, if it is not there yet. */
  readonly announceReleased: () => void;
}

/** A thief who knocks fast must not fill the audit trail: what exceeds this is in the log and the metrics alone. */
const DENIALS_ON_RECORD = { perSecond: 1, burst: 100 };

/** A floor comes back in a stream: when nobody has for so long, the others are away. */
const RETURN_MS = 15_000;

function auditDenials({ store, clock, log }: Foundation): (denial: Denial) => void {
  const bucket = new TokenBucket(DENIALS_ON_RECORD, clock.monotonic());
  return (denial) => {
    if (!bucket.take(clock.monotonic())) return;
    const { device, address, topic, clientId } = denial;
    store
      .appendAudit(
        [
          {
            action: 'broker.deny',
            outcome: 'denied',
            code: denial.code,
            actor:
              device === undefined ? { type: 'anonymous', id: address ?? 'unknown' } : { type: 'device', id: device },
            ...(address === undefined ? {} : { source: address }),
            ...(device === undefined ? {} : { device }),
            details: { act: denial.act, reason: denial.reason, topic: topic ?? null, clientId: clientId ?? null },
          },
        ],
        clock.now(),
      )
      .catch((error: unknown) => log.error({}, `denial not recorded: ${errorMessage(error)}`));
  };
}

export async function openFloor(
  foundation: Foundation,
  tls: BrokerTls,
  metrics: Metrics,
  onRevoked: () => void,
): Promise<Floor> {
  const { config, store, keyStore, authorities, policy, feed, clock, log, closing } = foundation;
  const { realm, listen } = config;
  // Those that were there when the gateway before this one ended.
  const returning = new Set((await Array.fromAsync(connectedPages(store))).flat());
  let lastReturnAt = clock.monotonic();
  await store.clearPresence();
  const broker = await createEmbeddedBroker({
    realm,
    host: listen.host,
    port: listen.mqtt,
    tls,
    authorize: createClientAuthorizer(store, clock, metrics, (issuer) => authorities.get().withdrawnAt(issuer)),
    limits: config.broker,
    clock,
    log,
    onDenied: auditDenials(foundation),
  });
  const inFlight = new InFlight(clock);
  const dispatcher = createDispatcher({
    realm,
    store,
    keyStore,
    broker,
    clock,
    log,
    metrics,
    policy: policy.get,
    windows: policy.windows,
    signer: () => authorities.get().messageSigner,
    inFlight,
  });
  let announced = 0;
  const announce = async (): Promise<void> => {
    const released = await store.releasedTrustVersion();
    const bundle = released > announced ? await store.trustBundle(released) : undefined;
    if (bundle === undefined) return;
    announced = released;
    await announceTrust(broker, realm, bundle);
  };
  const announceReleased = (): void => {
    announce().catch((error: unknown) => log.warn({}, `trust bundle not announced: ${errorMessage(error)}`));
  };
  const rollouts = createRolloutDriver({
    store,
    clock,
    log,
    onDue: () => dispatcher.ring(),
    isReturning: () => returning.size > 0 && clock.monotonic() - lastReturnAt < RETURN_MS,
    onAdvance: (rollout) => {
      feed.publish(rolloutChanged(rollout));
      if (rollout.kind === 'trust-bundle') announceReleased();
    },
  });
  const invalidReports = new TokenBucket(DENIALS_ON_RECORD, clock.monotonic());
  const intake = createIntake({
    realm,
    store,
    broker,
    clock,
    log,
    metrics,
    policy: policy.get,
    windows: policy.windows,
    mayRecordInvalid: () => invalidReports.take(clock.monotonic()),
    onDue: () => dispatcher.ring(),
    onProgress: () => rollouts.ring(),
    onReport: (device, outcome) => {
      inFlight.answered(device);
      if (outcome.kind === 'quarantine') feed.publish({ type: 'device', device, change: 'quarantined' });
      if (outcome.kind === 'accepted' && outcome.exposed.length > 0) onRevoked();
    },
  });
  const presence = createPresenceKeeper(store, clock, log, () => {
    dispatcher.ring();
    rollouts.ring();
  });
  broker.onReport(intake.accept);
  let isClosing = false;
  broker.onPresence((change) => {
    // When the gateway ends, it is not the devices that leave: the next one waits for them.
    if (isClosing) return;
    if (change.kind === 'connected' && returning.delete(change.device)) lastReturnAt = clock.monotonic();
    presence.note(change);
    feed.publish({ type: 'device', device: change.device, change: change.kind });
  });
  // Closed in the opposite order: the broker first, so that nothing new comes in.
  for (const worker of [presence, intake, rollouts, dispatcher]) closing.add(() => worker.stop());
  closing.add(() => {
    isClosing = true;
    return broker.close();
  });

  await announce();
  return { broker, dispatcher, rollouts, announceReleased };
}
