/**
 * Sends what is due to connected devices: takes them in batches, seals, records, signs, publishes. A failure on the way
 * loses nothing, since the due mark stays until a report settles it.
 */
import type { MessageSigner } from '#pki/cms/sign.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { errorCode, errorMessage } from '#schema/errors.ts';
import type { DeviceId, Realm, TrustVersion } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { trustLinkTopic, updateTopic } from '#schema/topics.ts';
import { WorkingKeys } from '#gateway/keys/working-key.ts';
import type { Broker } from '#gateway/ports/broker.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { SiteWindows } from '#gateway/rollout/window.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { DispatchOutcome, PlannedUpdate } from '#gateway/ports/store/delivery.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { composeUpdate, signUpdate, type ComposedUpdate } from './compose.ts';
import { decideDispatch } from './decide-dispatch.ts';
import type { InFlight } from './in-flight.ts';
import { connectedPages } from './presence.ts';
import { createWorker, type Worker } from '#gateway/ports/worker.ts';

export interface DispatcherPorts {
  readonly realm: Realm;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly broker: Broker;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly policy: () => Policy;
  readonly windows: () => SiteWindows;
  readonly signer: () => MessageSigner;
  readonly inFlight: InFlight;
}

/** Devices of one transaction: large enough to share a disk flush, small enough to leave the event loop air. */
const BATCH = 64;
/** Longest walk sent at once; a device further behind gets the rest after its next report. */
const LINKS_AT_ONCE = 64;
/** Less than this is no step of the clock, but how it is kept right. */
const STEP_MS = 1_000;
/** The dispatcher looks at the due marks this often even when nobody rings. */
const IDLE_MS = 5_000;
/** How long answers are waited for when many updates are on their way. */
const FULL_MS = 50;

export function createDispatcher(ports: DispatcherPorts): Worker {
  const { realm, store, broker, clock, log, metrics, inFlight } = ports;

  const sendTrustLinks = async (device: DeviceId, from: TrustVersion, to: TrustVersion): Promise<void> => {
    for (const link of await store.trustLinks(from, LINKS_AT_ONCE)) {
      if (link.version > to) return;
      await broker.publish(trustLinkTopic(realm, device), link.der);
      metrics.trustLinks();
    }
  };

  const compose = async (
    keys: WorkingKeys,
    planned: PlannedUpdate,
    now: Date,
    validity: number,
  ): Promise<{ planned: PlannedUpdate; composed: ComposedUpdate } | undefined> => {
    try {
      return { planned, composed: await composeUpdate({ realm, keys }, planned, now, validity) };
    } catch (error) {
      metrics.updates('failed');
      log.warn({ device: planned.device.id, code: errorCode(error) }, `update not sealed: ${errorMessage(error)}`);
      return undefined;
    }
  };

  const send = async (planned: PlannedUpdate, composed: ComposedUpdate): Promise<void> => {
    try {
      const message = await signUpdate(composed, ports.signer());
      if (planned.trustFrom < planned.trustVersion)
        await sendTrustLinks(planned.device.id, planned.trustFrom, planned.trustVersion);
      inFlight.sent(planned.device.id);
      await broker.publish(updateTopic(realm, planned.device.id), message);
      metrics.updates('sent');
    } catch (error) {
      metrics.updates('failed');
      log.warn(
        { device: planned.device.id, seq: planned.seq, code: errorCode(error) },
        `update not sent: ${errorMessage(error)}`,
      );
    }
  };

  const dispatchBatch = async (): Promise<number> => {
    const now = clock.now();
    const policy = ports.policy().delivery;
    const moment = { now, windows: ports.windows() };
    const outcomes = await store.takeDue(BATCH, now, (state) => decideDispatch(state, moment, policy));
    const planned = outcomes.filter(
      (outcome): outcome is Extract<DispatchOutcome, { kind: 'send' }> => outcome.kind === 'send',
    );
    const keys = new WorkingKeys(ports.keyStore, realm);
    const composed = (
      await Promise.all(planned.map(({ update }) => compose(keys, update, now, policy.updateValidity)))
    ).filter((entry) => entry !== undefined);
    await keys.wipe();
    if (composed.length > 0) {
      await store.recordUpdates(composed.map((entry) => entry.composed.record));
      await Promise.all(composed.map((entry) => send(entry.planned, entry.composed)));
    }
    return outcomes.length;
  };

  const wallOffset = (): number => clock.now().getTime() - clock.monotonic();
  let offset = wallOffset();
  /** Due marks from before the clock was set back lie too far ahead: whoever is there is looked at anew. */
  const lookAgainAfterStep = async (): Promise<void> => {
    const before = offset;
    offset = wallOffset();
    if (before - offset < STEP_MS) return;
    const now = clock.now();
    log.warn({ ms: Math.round(before - offset) }, 'the clock was set back');
    for await (const devices of connectedPages(store)) await store.markDue(devices, now);
  };

  const worker: Worker = createWorker(
    clock,
    async () => {
      await lookAgainAfterStep();
      while (inFlight.hasRoom()) if ((await dispatchBatch()) < BATCH) break;
      if (!inFlight.hasRoom()) {
        worker.ringAt(new Date(clock.now().getTime() + FULL_MS));
        return;
      }
      const next = await store.nextDue();
      const idle = clock.now().getTime() + IDLE_MS;
      worker.ringAt(new Date(Math.min(idle, next?.getTime() ?? idle)));
    },
    (error) => {
      log.error({ code: errorCode(error) }, `dispatch failed: ${errorMessage(error)}`);
      worker.ringAt(new Date(clock.now().getTime() + IDLE_MS));
    },
  );
  return worker;
}
