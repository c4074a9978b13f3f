/** What the rest of the gateway stands on: data directory, configuration, log, HSM, database, authorities, policy. */
import { createHash, randomBytes } from 'node:crypto';
import pino from 'pino';
import type { CeremonySetting } from '#pki/ceremony/record.ts';
import type { KeyStore, KeyStoreHealth } from '#pki/keystore/port.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Config } from '#schema/config.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import { createEventFeed, type EventFeed } from '../api/events.ts';
import { loadConfig } from '../installation/config-file.ts';
import { dataDirectory, type DataDirectory } from '../installation/data-directory.ts';
import { openConfiguredKeyStore } from '../installation/key-store.ts';
import { lockDataDirectory } from '../installation/run-file.ts';
import type { Log } from '../ports/log.ts';
import type { Store } from '../ports/store/index.ts';
import { createWindows, type SiteWindows } from '../rollout/window.ts';
import { openSqliteStore } from '../store/sqlite/open.ts';
import { holdAuthorities, type HeldAuthorities } from '../trust/authorities.ts';

/** Closes what was opened, last first, whatever happens on the way. */
export class Closing {
  private steps: (() => Promise<void>)[] = [];

  add(step: () => Promise<void>): void {
    this.steps.unshift(step);
  }

  async run(log: Log | undefined): Promise<void> {
    const { steps } = this;
    this.steps = [];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        log?.warn({}, `closing: ${errorMessage(error)}`);
      }
    }
  }
}

export interface FoundationOptions {
  readonly directory: string;
  /** Over the configuration file's. */
  readonly listen?: Partial<Config['listen']>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
}

export interface Foundation {
  readonly data: DataDirectory;
  readonly config: Config;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly authorities: HeldAuthorities;
  /** The policy in force; `set` when another is applied. */
  readonly policy: {
    readonly get: () => Policy;
    readonly set: (policy: Policy) => void;
    /** Its maintenance windows. */
    readonly windows: () => SiteWindows;
  };
  readonly feed: EventFeed;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly closing: Closing;
}

async function policyOf(store: Store, data: DataDirectory): Promise<Foundation['policy']> {
  const record = await store.currentPolicy();
  if (record === undefined) {
    throw new CroupierError('config.missing', `${data.root} has no policy yet; run croupier init`);
  }
  let { policy } = record;
  let windows = createWindows(policy.rollouts.windows);
  return {
    get: () => policy,
    set: (next) => {
      policy = next;
      windows = createWindows(policy.rollouts.windows);
    },
    windows: () => windows,
  };
}

/** Errors: `config.*`, `data.in-use`, `hsm.*`, `store.*`. What was opened is in `closing` even then. */
export async function layFoundation(options: FoundationOptions, closing: Closing): Promise<Foundation> {
  const { clock, random } = options;
  const data = dataDirectory(options.directory);
  const file = await loadConfig(data);
  const config: Config = { ...file, listen: { ...file.listen, ...options.listen } };
  const log =
    options.log ??
    pino({ level: config.log.level, base: { realm: config.realm } }, pino.destination({ fd: 2, sync: false }));
  closing.add(await lockDataDirectory(data));
  const feed = createEventFeed();
  const onHealthChange = (health: KeyStoreHealth): void => {
    feed.publish({ type: 'hsm', state: health.state });
    if (health.state === 'ready') log.info({}, 'the HSM is back');
    else log.warn({ reason: health.reason }, 'the HSM is away; nothing is signed until it is back');
  };
  const keyStore = await openConfiguredKeyStore(data, config, onHealthChange);
  closing.add(() => keyStore.close());
  const store = await openSqliteStore({
    path: config.store.path,
    realm: config.realm,
    clock,
    busyTimeoutMs: config.store.busyTimeout,
  });
  closing.add(() => store.close());
  const authorities = await holdAuthorities(store, keyStore);
  return {
    data,
    config,
    store,
    keyStore,
    authorities,
    policy: await policyOf(store, data),
    feed,
    clock,
    random,
    log,
    closing,
  };
}

/** The circumstances of certificates that the gateway has issued to itself. */
export function gatewayCeremony({
  config,
  store,
  clock,
}: Pick<Foundation, 'config' | 'store' | 'clock'>): CeremonySetting {
  return {
    realm: config.realm,
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
  };
}
