/** States of agents, for tests that need no gateway. */
import { Buffer } from 'node:buffer';
import { newState, type AgentState, type HeldKeyring } from '#agent/state/state.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';

export const emptyState = (): AgentState =>
  newState({
    realm: Realm.parse('test'),
    device: DeviceId.parse('egm-1'),
    est: 'https://127.0.0.1:1',
    mqtt: 'mqtts://127.0.0.1:2',
    public: 'http://127.0.0.1:3',
    root: Sha256.parse('ab'.repeat(32)),
  });

/** A keyring with one active version per number, key bytes all of that number. */
export function keyringOf(...versions: readonly number[]): HeldKeyring {
  const active = versions.at(-1);
  return {
    keySet: KeySetName.parse('wallet-kek'),
    revision: versions.length,
    active: active === undefined ? null : KeyVersionNumber.parse(active),
    accept: versions.map((version) => KeyVersionNumber.parse(version)),
    versions: versions.map((version) => ({
      version: KeyVersionNumber.parse(version),
      state: version === active ? 'active' : 'stored',
      algorithm: 'AES-256',
      use: 'wrap',
      kcv: '0123456789',
      key: Buffer.alloc(32, version),
    })),
    destroyed: [],
    deferred: undefined,
  };
}

/** A state with something in every field. */
export function fullState(generation: number): AgentState {
  const slot = (name: string): { privateKey: string; certificate: Buffer; chain: Buffer[] } => ({
    privateKey: `stands for the private key of ${name}, ${generation}`,
    certificate: Buffer.from(`certificate ${name} ${generation}`),
    chain: [Buffer.from('intermediate')],
  });
  const keyring = keyringOf(1, 2);
  return {
    ...emptyState(),
    root: Buffer.from('root'),
    identities: {
      current: slot('current'),
      next: slot('next'),
      requested: { purpose: 'renew', privateKey: 'requested key', csr: Buffer.from('csr') },
      renewAt: new Date('2026-01-02T03:04:05.678Z'),
    },
    trust: { version: TrustVersion.parse(3), digest: Sha256.parse('cd'.repeat(32)), bundle: Buffer.from('bundle') },
    lastSeq: Seq.parse(generation),
    lastDigest: Sha256.parse('ef'.repeat(32)),
    keyrings: [
      {
        ...keyring,
        destroyed: [{ version: KeyVersionNumber.parse(9), kcv: null, listed: true }],
        deferred: {
          version: KeyVersionNumber.parse(1),
          seq: Seq.parse(5),
          until: new Date('2026-02-03T04:05:06.789Z'),
        },
      },
    ],
    results: [{ seq: Seq.parse(5), outcome: 'deferred', code: 'device.busy', until: '2026-02-03T04:05:06.789Z' }],
    report: { counter: 7, last: Buffer.from('report') },
    clockFloor: new Date('2026-01-01T00:00:00.000Z'),
    generation,
  };
}
