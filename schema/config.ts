/** The gateway's configuration, one TOML file. Unknown keys are errors; secrets come by file path. */
import { z } from 'zod';
import { Realm } from './ids.ts';
import { Duration } from './parse.ts';

const Port = z.int().min(0).max(65_535);

/** Groups of a TLS 1.3 key exchange, as OpenSSL names them; the first is ML-KEM-768 with X25519. */
export const KEY_EXCHANGES = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384'] as const;
export type KeyExchange = (typeof KEY_EXCHANGES)[number];

export const Config = z.strictObject({
  realm: Realm,
  /** Organisation in certificates. */
  operator: z.string().min(1).max(64),
  listen: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      est: Port.default(8443),
      mqtt: Port.default(8883),
      api: Port.default(9443),
      public: Port.default(8080),
    })
    .prefault({}),
  /** How devices reach the gateway; DNS names and IP addresses go into its TLS certificate, the first into tickets. */
  names: z.array(z.string().min(1).max(253)).min(1).default(['localhost', '127.0.0.1']),
  tls: z
    .strictObject({
      /**
       * Offered to devices. The hybrid with ML-KEM keeps recorded traffic from a quantum computer of later times, and
       * costs memory for each connection (docs/performance.md).
       */
      keyExchange: z.array(z.enum(KEY_EXCHANGES)).min(1).default(['X25519', 'P-256', 'P-384']),
    })
    .prefault({}),
  hsm: z.strictObject({
    /** Path of the PKCS#11 module. */
    module: z.string(),
    token: z.string(),
    pinFile: z.string(),
    sessions: z.int().min(1).max(64).default(4),
    /** `async` never blocks on a network HSM; `sync` is quicker with SoftHSM2. */
    signing: z.enum(['async', 'sync']).default('async'),
  }),
  store: z.strictObject({ path: z.string().default('croupier.db'), busyTimeout: Duration.default(5_000) }).prefault({}),
  broker: z
    .strictObject({
      maxConnections: z.int().min(1).default(20_000),
      messagesPerSecond: z.number().positive().default(20),
      burst: z.int().min(1).default(100),
    })
    .prefault({}),
  est: z
    .strictObject({
      /** Requests from one address in a minute without a valid credential before it is asked to wait. */
      failuresPerMinute: z.int().min(1).default(30),
      maxConnections: z.int().min(1).default(5_000),
    })
    .prefault({}),
  log: z
    .strictObject({ level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info') })
    .prefault({}),
  audit: z
    .strictObject({ checkpointEvery: Duration.default(60_000), checkpointRecords: z.int().min(1).default(1_000) })
    .prefault({}),
  crl: z
    .strictObject({ validity: Duration.default(7 * 86_400_000), refresh: Duration.default(86_400_000) })
    .prefault({}),
});
export type Config = z.infer<typeof Config>;
export type ConfigDocument = z.input<typeof Config>;

/** What a running gateway tells about itself in `run.json`. */
export const RunFile = z.object({
  pid: z.int(),
  startedAt: z.string(),
  host: z.string(),
  ports: z.object({ est: Port, mqtt: Port, api: Port, public: Port }),
});
export type RunFile = z.infer<typeof RunFile>;
