/**
 * Wires the gateway: ports to implementations, decisions to edges. The only file that knows all of them.
 */
import { createHash, randomBytes } from 'node:crypto';
import pino from 'pino';
import { encodePem } from '#pki/certificate/pem.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Config, RunFile } from '#schema/config.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { systemRandom, type Random } from '#schema/runtime/random.ts';
import { createEmbeddedBroker, type EmbeddedBroker } from './broker/embedded.ts';
import { createDispatcher } from './delivery/dispatcher.ts';
import { createIntake } from './delivery/intake.ts';
import { createPresenceKeeper } from './delivery/presence.ts';
import { createClientAuthorizer } from './enrolment/client-certificate.ts';
import { createEnrolment } from './enrolment/enrol.ts';
import { createEstServer } from './est/server.ts';
import { loadConfig } from './installation/config-file.ts';
import { dataDirectory, type DataDirectory } from './installation/data-directory.ts';
import { openConfiguredKeyStore } from './installation/key-store.ts';
import { lockDataDirectory, removeRunFile, writeRunFile } from './installation/run-file.ts';
import { ensureTlsIdentity } from './installation/tls-identity.ts';
import { silentMetrics } from './ports/metrics.ts';
import type { Log } from './ports/log.ts';
import type { Store } from './ports/store/index.ts';
import { createPublicServer } from './public/server.ts';
import { createRolloutDriver } from './rollout/driver.ts';
import { openSqliteStore } from './store/sqlite/open.ts';
import { loadAuthorities } from './trust/authorities.ts';
import { announceTrust } from './trust/publish.ts';

export interface GatewayOptions {
  readonly directory: string;
  /** Over the configuration file's. */
  readonly listen?: Partial<Config['listen']>;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Log;
}

export interface RunningGateway {
  readonly run: RunFile;
  /** Stops taking work, finishes what is under way, releases the data directory. */
  close(): Promise<void>;
}

/** Closes what was opened, last first, whatever happens on the way. */
class Closing {
  private readonly steps: (() => Promise<void>)[] = [];

  add(step: () => Promise<void>): void {
    this.steps.unshift(step);
  }

  async run(log: Log): Promise<void> {
    for (const step of this.steps.splice(0)) {
      try {
        await step();
      } catch (error) {
        log.warn({}, `closing: ${errorMessage(error)}`);
      }
    }
  }
}

interface Foundation {
  readonly data: DataDirectory;
  readonly config: Config;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly closing: Closing;
}

/** Lock, configuration, HSM, database. */
async function lay(options: GatewayOptions, closing: Closing): Promise<Foundation> {
  const data = dataDirectory(options.directory);
  const file = await loadConfig(data);
  const config: Config = { ...file, listen: { ...file.listen, ...options.listen } };
  const log =
    options.log ??
    pino({ level: config.log.level, base: { realm: config.realm } }, pino.destination({ fd: 2, sync: false }));
  const release = await lockDataDirectory(data);
  closing.add(release);
  const keyStore = await openConfiguredKeyStore(data, config, (health) => {
    if (health.state === 'ready') log.info({}, 'the HSM is back');
    else log.warn({ reason: health.reason }, 'the HSM is away; nothing is signed until it is back');
  });
  closing.add(() => keyStore.close());
  const clock = options.clock ?? systemClock;
  const store = await openSqliteStore({
    path: config.store.path,
    realm: config.realm,
    clock,
    busyTimeoutMs: config.store.busyTimeout,
  });
  closing.add(() => store.close());
  return { data, config, store, keyStore, clock, random: options.random ?? systemRandom, log, closing };
}

async function currentPolicyOf(store: Store, data: DataDirectory) {
  const record = await store.currentPolicy();
  if (record === undefined)
    throw new CroupierError('config.missing', `${data.root} has no policy yet; run croupier init`);
  return record.policy;
}

/** Starts a gateway. Errors: those of the configuration, `data.in-use`, `hsm.*`, `store.*`, `port.in-use`. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const closing = new Closing();
  try {
    return await serve(await lay(options, closing));
  } catch (error) {
    await closing.run(options.log ?? pino({ level: 'silent' }));
    throw error;
  }
}

async function serve(foundation: Foundation): Promise<RunningGateway> {
  const { data, config, store, keyStore, clock, random, log, closing } = foundation;
  const { realm, listen } = config;
  const metrics = silentMetrics;
  const authorities = await loadAuthorities(store, keyStore);
  let policy = await currentPolicyOf(store, data);
  const policyNow = () => policy;
  const tls = await ensureTlsIdentity(
    data,
    config,
    {
      realm,
      operator: config.operator,
      performedBy: ['gateway'],
      now: clock.now(),
      randomBytes: (length) => randomBytes(length),
      recordIntent: async ({ serialNumber, tbs }) => {
        const details = { tbs: createHash('sha256').update(tbs).digest('hex') };
        await store.appendAudit(
          [
            {
              action: 'certificate.intend',
              outcome: 'success',
              actor: { type: 'gateway', id: 'tls' },
              object: { type: 'certificate', id: serialNumber },
              details,
            },
          ],
          clock.now(),
        );
      },
    },
    authorities.operationsCa,
    async () => keyStore.signer((await store.authority('operations-ca'))?.keyLabel ?? ''),
  );
  const deviceTls = { ...tls, clientCas: [encodePem('CERTIFICATE', authorities.deviceCa.certificate)] };
  await store.clearPresence();

  const broker: EmbeddedBroker = await createEmbeddedBroker({
    realm,
    host: listen.host,
    port: listen.mqtt,
    tls: deviceTls,
    authorize: createClientAuthorizer(store, clock, metrics),
    limits: config.broker,
    clock,
    log,
  });
  closing.add(() => broker.close());

  const dispatcher = createDispatcher({
    realm,
    store,
    keyStore,
    broker,
    clock,
    log,
    metrics,
    policy: policyNow,
    signer: () => authorities.messageSigner,
  });
  closing.add(() => dispatcher.stop());
  const rollouts = createRolloutDriver({ store, clock, log, onDue: () => dispatcher.ring() });
  closing.add(() => rollouts.stop());
  const intake = createIntake({
    realm,
    store,
    broker,
    clock,
    log,
    metrics,
    policy: policyNow,
    onDue: () => dispatcher.ring(),
    onProgress: () => rollouts.ring(),
  });
  closing.add(() => intake.stop());
  const presence = createPresenceKeeper(store, clock, log, () => {
    dispatcher.ring();
    rollouts.ring();
  });
  closing.add(() => presence.stop());
  broker.onReport(intake.accept);
  broker.onPresence(presence.note);

  const bundle = await store.latestTrustBundle();
  if (bundle !== undefined) await announceTrust(broker, realm, bundle);

  const cacerts = [authorities.deviceCa.certificate, authorities.operationsCa, authorities.root];
  const enrol = createEnrolment({
    realm,
    operator: config.operator,
    store,
    clock,
    random,
    log,
    metrics,
    policy: policyNow,
    authority: () => authorities.deviceCa,
    crlUrl: () => undefined,
  });
  const est = await createEstServer({
    host: listen.host,
    port: listen.est,
    realm,
    tls: deviceTls,
    enrol,
    cacerts: () => cacerts,
    policy: policyNow,
    failuresPerMinute: config.est.failuresPerMinute,
    clock,
    log,
  });
  closing.add(() => est.close());
  const publicListener = await createPublicServer({
    host: listen.host,
    port: listen.public,
    realm,
    health: async () => ({}),
    crl: async () => {
      throw new CroupierError('store.unavailable');
    },
    trust: store,
    cacerts: () => cacerts,
    log,
  });
  closing.add(() => publicListener.close());

  const run: RunFile = {
    pid: process.pid,
    startedAt: clock.now().toISOString(),
    host: listen.host,
    ports: { est: est.port, mqtt: broker.port, api: 0, public: publicListener.port },
  };
  await writeRunFile(data, run);
  closing.add(() => removeRunFile(data));
  dispatcher.ring();
  rollouts.ring();
  log.info({ ports: run.ports }, 'gateway ready');
  return { run, close: () => closing.run(log) };
}
