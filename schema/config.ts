/** The gateway's configuration, one TOML file. Unknown keys are errors; secrets come by file path. */
import { z } from 'zod';
import { Realm } from './ids.ts';
import { Duration } from './parse.ts';

const Port = z.int().min(0).max(65_535);

/** Groups of a TLS 1.3 key exchange, as OpenSSL names them; the first is ML-KEM-768 with X25519. */
export const KEY_EXCHANGES = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384'] as const;
export type KeyExchange = (typeof KEY_EXCHANGES)[number];

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** HTTPS; plain HTTP only where it does not leave the machine. What is secret belongs into files, not into a URL. */
const WebhookUrl = z.string().superRefine((text, context) => {
  const url = URL.parse(text);
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.test(url.hostname));
  if (url === null || !isSafe)
    context.addIssue({ code: 'custom', message: 'not an https URL, nor an http URL of a loopback address' });
  else if (url.username !== '' || url.password !== '')
    context.addIssue({ code: 'custom', message: 'a URL must not hold a user name or password' });
});

/** docs/webhooks.md */
export const WebhookConfig = z.strictObject({
  name: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/, 'not a webhook name'),
  url: WebhookUrl,
  /** File with the secret, mode 0600. */
  secretFile: z.string(),
  /** Audit actions, or `alert.` and a code; `*` stands for any characters. */
  events: z
    .array(z.string().regex(/^[a-z*](?:[a-z0-9.*-]{0,78}[a-z0-9*])?$/, 'not a pattern of audit actions'))
    .min(1)
    .max(64),
  /** PEM certificates to trust instead of those of the system. */
  ca: z.string().optional(),
  timeout: Duration.default(10_000),
  /** A record that was not taken for so long is given up. */
  maxAge: Duration.default(3 * 86_400_000),
});
export type WebhookConfig = z.infer<typeof WebhookConfig>;

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
  webhooks: z
    .array(WebhookConfig)
    .max(32)
    .default([])
    .refine((hooks) => new Set(hooks.map(({ name }) => name)).size === hooks.length, 'two webhooks have one name'),
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
