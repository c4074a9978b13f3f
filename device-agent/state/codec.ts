/**
 * The state as bytes: a line of JSON, and a line with what must stay secret (private and working keys), encrypted with
 * AES-256-GCM under the device's storage key. The first line is authenticated with it, so a changed or mixed state is
 * noticed.
 */
import { Buffer } from 'node:buffer';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import { KeyCheckValue, WorkingKeyAlgorithm, WorkingKeyUse } from '#schema/messages/common.ts';
import { UpdateResult } from '#schema/messages/report.ts';
import type { AgentState, IdentitySlot, RequestedIdentity } from './state.ts';

const FORMAT = 1;
const IV = 12;
const TAG = 16;
export const STORAGE_KEY_OCTETS = 32;

const Bytes = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));
const Time = z.iso.datetime().transform((text) => new Date(text));

const Slot = z.object({ certificate: Bytes, chain: z.array(Bytes) });

const Open = z.object({
  v: z.literal(FORMAT),
  registration: z.object({
    realm: Realm,
    device: DeviceId,
    est: z.string(),
    mqtt: z.string(),
    public: z.string(),
    root: Sha256,
  }),
  root: Bytes.optional(),
  current: Slot.optional(),
  next: Slot.optional(),
  requested: z.object({ purpose: z.enum(['enrol', 'renew']), csr: Bytes }).optional(),
  renewAt: Time.optional(),
  trust: z.object({ version: TrustVersion, digest: Sha256, bundle: Bytes }).optional(),
  lastSeq: Seq,
  lastDigest: Sha256.optional(),
  keyrings: z.array(
    z.object({
      keySet: KeySetName,
      revision: z.int().min(0),
      active: KeyVersionNumber.nullable(),
      accept: z.array(KeyVersionNumber),
      versions: z.array(
        z.object({
          version: KeyVersionNumber,
          state: z.enum(['stored', 'active', 'retired']),
          algorithm: WorkingKeyAlgorithm,
          use: WorkingKeyUse,
          kcv: KeyCheckValue,
        }),
      ),
      destroyed: z.array(z.object({ version: KeyVersionNumber, kcv: KeyCheckValue.nullable(), listed: z.boolean() })),
      deferred: z.object({ version: KeyVersionNumber, seq: Seq, until: Time }).optional(),
    }),
  ),
  results: z.array(UpdateResult),
  report: z.object({ counter: z.int().min(0), last: Bytes.optional() }),
  clockFloor: Time,
  generation: z.int().min(0),
});

const Secrets = z.object({
  current: z.string().optional(),
  next: z.string().optional(),
  requested: z.string().optional(),
  /** By key set, then by version. */
  keys: z.record(z.string(), z.record(z.string(), Bytes)),
});

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');

const openSlot = (slot: IdentitySlot | undefined): object | undefined =>
  slot && { certificate: base64(slot.certificate), chain: slot.chain.map(base64) };

function openPart(state: AgentState): string {
  const { identities, trust, report, keyrings } = state;
  return JSON.stringify({
    v: FORMAT,
    registration: state.registration,
    root: state.root && base64(state.root),
    current: openSlot(identities.current),
    next: openSlot(identities.next),
    requested: identities.requested && {
      purpose: identities.requested.purpose,
      csr: base64(identities.requested.csr),
    },
    renewAt: identities.renewAt,
    trust: trust && { ...trust, bundle: base64(trust.bundle) },
    lastSeq: state.lastSeq,
    lastDigest: state.lastDigest,
    keyrings: keyrings.map((keyring) => ({
      ...keyring,
      versions: keyring.versions.map((version) => ({ ...version, key: undefined })),
    })),
    results: state.results,
    report: { ...report, last: report.last && base64(report.last) },
    clockFloor: state.clockFloor,
    generation: state.generation,
  });
}

function secretPart(state: AgentState): Buffer {
  const { current, next, requested } = state.identities;
  return Buffer.from(
    JSON.stringify({
      current: current?.privateKey,
      next: next?.privateKey,
      requested: requested?.privateKey,
      keys: Object.fromEntries(
        state.keyrings.map(({ keySet, versions }) => [
          keySet,
          Object.fromEntries(versions.map(({ version, key }) => [version, base64(key)])),
        ]),
      ),
    }),
  );
}

/** The state in the form above. No secret appears in clear. */
export function encodeState(state: AgentState, storageKey: Uint8Array): Buffer {
  const open = Buffer.from(openPart(state));
  const secrets = secretPart(state);
  const iv = randomBytes(IV);
  const cipher = createCipheriv('aes-256-gcm', storageKey, iv);
  cipher.setAAD(open);
  const sealed = Buffer.concat([iv, cipher.update(secrets), cipher.final(), cipher.getAuthTag()]);
  secrets.fill(0);
  return Buffer.concat([open, Buffer.from(`\n${sealed.toString('base64')}\n`)]);
}

const corrupt = (what: string, cause?: unknown): CroupierError =>
  new CroupierError('agent.state-corrupt', `the state of the agent cannot be read: ${what}`, { cause });

function unseal(line: string, open: string, storageKey: Uint8Array): Buffer {
  const sealed = Buffer.from(line, 'base64');
  if (sealed.length < IV + TAG) throw corrupt('it ends too early');
  const decipher = createDecipheriv('aes-256-gcm', storageKey, sealed.subarray(0, IV));
  decipher.setAAD(Buffer.from(open));
  decipher.setAuthTag(sealed.subarray(-TAG));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(IV, -TAG)), decipher.final()]);
  } catch (error) {
    throw corrupt('it was changed, or belongs to another storage key', error);
  }
}

function parsed<Schema extends z.ZodType>(schema: Schema, text: string, what: string): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw corrupt(`${what} is not JSON`);
  }
  const result = schema.safeParse(value);
  // The faults are not quoted: they could hold a secret.
  if (!result.success) throw corrupt(`${what} is not of format ${FORMAT}`);
  return result.data;
}

const slot = (open: z.infer<typeof Slot> | undefined, privateKey: string | undefined): IdentitySlot | undefined =>
  open === undefined || privateKey === undefined ? undefined : { ...open, privateKey };

function requested(
  open: z.infer<typeof Open>['requested'],
  privateKey: string | undefined,
): RequestedIdentity | undefined {
  return open === undefined || privateKey === undefined ? undefined : { ...open, privateKey };
}

/** Reverse of `encodeState`. Errors: `agent.state-corrupt`; they quote nothing of the state. */
export function decodeState(bytes: Uint8Array, storageKey: Uint8Array): AgentState {
  const [openText = '', sealed = ''] = Buffer.from(bytes).toString('utf8').split('\n');
  const clear = unseal(sealed, openText, storageKey);
  const secrets = parsed(Secrets, clear.toString('utf8'), 'its secret part');
  clear.fill(0);
  const open = parsed(Open, openText, 'its open part');
  const keyrings = open.keyrings.map(({ deferred, ...keyring }) => ({
    ...keyring,
    deferred,
    versions: keyring.versions.map((version) => {
      const key = secrets.keys[keyring.keySet]?.[version.version];
      if (key === undefined) throw corrupt('a working key is missing');
      return { ...version, key };
    }),
  }));
  return {
    registration: open.registration,
    root: open.root,
    identities: {
      current: slot(open.current, secrets.current),
      next: slot(open.next, secrets.next),
      requested: requested(open.requested, secrets.requested),
      renewAt: open.renewAt,
    },
    trust: open.trust,
    lastSeq: open.lastSeq,
    lastDigest: open.lastDigest,
    keyrings,
    results: open.results,
    report: { counter: open.report.counter, last: open.report.last },
    clockFloor: open.clockFloor,
    generation: open.generation,
  };
}
