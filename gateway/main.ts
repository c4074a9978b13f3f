/**
 * Wires the gateway: foundation, floor, desk, listeners. With `wiring/` the only place that knows all of them.
 */
import { readFile } from 'node:fs/promises';
import { certificateFingerprint } from '#pki/certificate/parse.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import type { Config, RunFile } from '#schema/config.ts';
import { CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import { Sha256 } from '#schema/ids.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { systemRandom, type Random } from '#schema/runtime/random.ts';
import { readStatus } from './api/gateway-status.ts';
import { createMetrics } from './api/metrics.ts';
import { createApiServer } from './api/server.ts';
import { createCheckpointer } from './audit/checkpoint.ts';
import type { WebhookLag } from './audit/webhooks.ts';
import { createEnrolment } from './enrolment/enrol.ts';
import { createRevocationList } from './enrolment/revocation-list.ts';
import { createEstServer } from './est/server.ts';
import { removeRunFile, writeRunFile } from './installation/run-file.ts';
import { ensureTlsIdentity, type TlsIdentity } from './installation/tls-identity.ts';
import type { Log } from './ports/log.ts';
import { createWorker } from './ports/worker.ts';
import { createPublicServer } from './public/server.ts';
import type { HealthCheck } from './public/resources.ts';
import { caCertificates } from './trust/authorities.ts';
import { openDesk } from './wiring/desk.ts';
import { openFloor } from './wiring/floor.ts';
import { rolloutPlanner } from './wiring/plan-rollout.ts';
import { Closing, gatewayCeremony, layFoundation, type Foundation } from './wiring/foundation.ts';
import { nextBundlePorts, publishIfBehind, takeInTrustLinks, writeCaFiles } from './wiring/trust.ts';
import { openWebhooks } from './wiring/webhooks.ts';

export interface GatewayOptions {
  readonly directory: string;
  /** Over the configuration file's. */
  readonly listen?: Partial<Config['listen']>;
  readonly clock?: Clock;
  readonly random?: Random;
  /** JSON lines on stderr unless told. */
  readonly log?: Log;
}

export interface RunningGateway {
  readonly run: RunFile;
  /** Stops taking work, finishes what is under way, releases the data directory. */
  close(): Promise<void>;
}

/** Starts a gateway. Errors: those of the configuration, `data.in-use`, `hsm.*`, `store.*`, `port.in-use`. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { clock = systemClock, random = systemRandom } = options;
  const closing = new Closing();
  try {
    return await serve(await layFoundation({ ...options, clock, random }, closing));
  } catch (error) {
    await closing.run(options.log);
    throw error;
  }
}

async function packageVersion(): Promise<string> {
  const document: unknown = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof document === 'object' && document !== null && 'version' in document
    ? String(document.version)
    : 'unknown';
}

/** What `/health` tells to anybody: whether the parts do their work, never why not. */
async function health({ keyStore, store, clock }: Foundation): Promise<Readonly<Record<string, HealthCheck>>> {
  const hsm: HealthCheck =
    keyStore.health().state === 'ready' ? { status: 'pass' } : { status: 'warn', code: 'hsm.unavailable' };
  const database = await store.auditHead().then(
    (): HealthCheck => ({ status: 'pass' }),
    (): HealthCheck => ({ status: 'fail', code: 'store.unavailable' }),
  );
  const bundle = await store.latestTrustBundle().catch(() => undefined);
  const expired = bundle === undefined || new Date(bundle.body.expiresAt) < clock.now();
  return { hsm, database, trust: expired ? { status: 'warn', code: 'trust.expired' } : { status: 'pass' } };
}

/** As a URL wants it. */
const hostIn = (name: string): string => (name.includes(':') ? `[${name}]` : name);

const TLS_CHECK_MS = 6 * 3_600_000;
const KEEP_ALIVE_MS = 60_000;

/** A gateway runs longer than its TLS certificate is valid: a new one is put in place without a restart. */
function keepTlsFresh(
  { clock, log, closing }: Foundation,
  current: () => Promise<TlsIdentity>,
  replace: (identity: TlsIdentity) => void,
): void {
  const worker = createWorker(
    clock,
    async () => {
      worker.ringAt(new Date(clock.now().getTime() + TLS_CHECK_MS));
      replace(await current());
    },
    (error) => log.error({ code: errorCode(error) }, `TLS certificate not renewed: ${errorMessage(error)}`),
  );
  worker.ringAt(new Date(clock.now().getTime() + TLS_CHECK_MS));
  closing.add(() => worker.stop());
}

async function serve(foundation: Foundation): Promise<RunningGateway> {
  const { data, config, store, keyStore, authorities, policy, feed, clock, random, log, closing } = foundation;
  const { realm, listen } = config;
  const { host } = listen;
  const [name = 'localhost'] = config.names;
  const startedAt = clock.now();
  const version = await packageVersion();
  let lags = (): readonly WebhookLag[] => [];
  const registry = createMetrics({
    store,
    clock,
    policy: policy.get,
    hsm: () => keyStore.health(),
    webhooks: () => lags(),
  });
  const ownTls = (): Promise<TlsIdentity> =>
    ensureTlsIdentity(data, config, gatewayCeremony(foundation), authorities.get().operationsCa, async () => {
      const operations = await store.authority('operations-ca');
      if (operations === undefined)
        throw new CroupierError('config.missing', 'there is no Operations CA; run croupier init');
      return keyStore.signer(operations.keyLabel);
    });
  const listenerTls = (identity: TlsIdentity, clientCas: readonly Uint8Array[]) => ({
    ...identity,
    clientCas: clientCas.map((der) => encodePem('CERTIFICATE', der)),
    keyExchange: config.tls.keyExchange,
  });
  const forMqtt = (identity: TlsIdentity) => listenerTls(identity, authorities.get().anchors.identity);
  const forEst = (identity: TlsIdentity) => listenerTls(identity, authorities.get().estClientCas);
  const tls = await ownTls();

  const checkpointer = createCheckpointer({
    store,
    clock,
    log,
    realm,
    signer: () => authorities.get().auditSigner,
    every: config.audit.checkpointEvery,
    records: config.audit.checkpointRecords,
  });
  closing.add(() => checkpointer.close());
  const webhooks = await openWebhooks(foundation, registry.metrics);
  lags = () => webhooks.lags();
  const revocations = createRevocationList({
    store,
    clock,
    log,
    issuers: () => authorities.get().crlIssuers,
    validityMs: config.crl.validity,
    refreshMs: config.crl.refresh,
  });
  closing.add(() => revocations.stop());
  await takeInTrustLinks(foundation);
  const floor = await openFloor(foundation, forMqtt(tls), registry.metrics, () => revocations.changed());
  const desk = openDesk(foundation, floor, revocations);
  await desk.closeInterrupted();

  const cacerts = (): readonly Uint8Array[] => caCertificates(authorities.get());
  const open = await createPublicServer({
    host,
    port: listen.public,
    realm,
    health: () => health(foundation),
    crl: (keyLabel) => revocations.current(keyLabel),
    trust: store,
    cacerts,
    log,
  });
  closing.add(() => open.close());
  const enrol = createEnrolment({
    realm,
    operator: config.operator,
    store,
    clock,
    random,
    log,
    metrics: registry.metrics,
    policy: policy.get,
    authority: () => authorities.get().deviceCa,
    withdrawnAt: (issuer) => authorities.get().withdrawnAt(issuer),
    clientCas: () => authorities.get().anchors.identity,
    crlUrl: (issuer) => `http://${hostIn(name)}:${open.port}/crl/${issuer}`,
  });
  const est = await createEstServer({
    host,
    port: listen.est,
    realm,
    tls: forEst(tls),
    enrol: async (input) => {
      const answer = await enrol(input);
      if (answer.kind === 'issued') {
        feed.publish({
          type: 'device',
          device: answer.device,
          change: input.operation === 'simpleenroll' ? 'enrolled' : 'renewed',
        });
      }
      return answer;
    },
    cacerts,
    policy: policy.get,
    failuresPerMinute: config.est.failuresPerMinute,
    limits: { maxConnections: config.est.maxConnections },
    clock,
    log,
    metrics: registry.est,
  });
  closing.add(() => est.close());

  const ports: RunFile['ports'] = { est: est.port, mqtt: floor.broker.port, api: 0, public: open.port };
  const api = await createApiServer({
    host,
    port: listen.api,
    tls,
    version,
    store,
    desk,
    feed,
    policy: policy.get,
    planRollout: rolloutPlanner(nextBundlePorts(foundation, floor)),
    status: () =>
      readStatus({ realm, version, startedAt, ports: () => ports, store, clock, hsm: () => keyStore.health() }),
    metrics: () => registry.render(),
    ticketInfo: () => ({
      realm,
      est: `https://${hostIn(name)}:${ports.est}`,
      mqtt: `mqtts://${hostIn(name)}:${ports.mqtt}`,
      public: `http://${hostIn(name)}:${ports.public}`,
      root: Sha256.parse(certificateFingerprint(authorities.get().root)),
    }),
    auditExport: { store, clock, realm, root: () => authorities.get().auditRoot, seal: () => checkpointer.seal() },
    clock,
    log,
    apiMetrics: registry.api,
  });
  closing.add(() => api.close());
  ports.api = api.port;

  const replaceTls = (identity: TlsIdentity): void => {
    est.replaceTls(forEst(identity));
    floor.broker.replaceTls(forMqtt(identity));
    api.replaceTls(identity);
  };
  keepTlsFresh(foundation, ownTls, replaceTls);
  authorities.onChange(async () => {
    replaceTls(await ownTls());
    revocations.changed();
    await writeCaFiles(foundation);
  });
  await publishIfBehind(nextBundlePorts(foundation, floor)).catch((error: unknown) =>
    log.warn({ code: errorCode(error) }, `trust bundle not published: ${errorMessage(error)}`),
  );

  const note = (action: string): Promise<void> =>
    store.appendAudit(
      [{ action, outcome: 'success', actor: { type: 'gateway', id: 'main' }, details: { version } }],
      clock.now(),
    );
  await note('gateway.start');
  const run: RunFile = { pid: process.pid, startedAt: startedAt.toISOString(), host, ports };
  await writeRunFile(data, run);
  closing.add(() => removeRunFile(data));
  floor.dispatcher.ring();
  floor.rollouts.ring();
  log.info({ ports }, 'gateway ready');
  return {
    run,
    close: async () => {
      log.info({}, 'gateway stops');
      // A worker may be waiting for the clock, whose timers do not keep the process alive.
      const alive = setInterval(() => undefined, KEEP_ALIVE_MS);
      try {
        await note('gateway.stop').catch((error: unknown) => log.warn({}, `closing: ${errorMessage(error)}`));
        await closing.run(log);
      } finally {
        clearInterval(alive);
      }
    },
  };
}
