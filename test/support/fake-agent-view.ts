/**
 * A working AgentView without a gateway: certificates made by openssl, random key bytes, changes that are told as the
 * agent tells them. Surfaces for applications are tested against it.
 */
import { execFileSync } from 'node:child_process';
import { createHmac, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentChange, AgentView, IdentityView, KeyringView, KeyVersionView, TrustView } from '#agent/view.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Serial, TrustVersion } from '#schema/ids.ts';
import type { DeviceKeyState } from '#schema/messages/report.ts';

export interface TestCredential {
  readonly identity: IdentityView;
  /** DER. */
  readonly root: Uint8Array;
}

/** A P-256 key with a certificate under a root of its own. */
export function makeCredential(device = 'egm-0001', days = 30): TestCredential {
  const directory = mkdtempSync(join(tmpdir(), 'croupier-credential-'));
  const at = (name: string): string => join(directory, name);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' });
  try {
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      at('root.key'),
      '-out',
      at('root.crt'),
      '-subj',
      '/CN=Test Root',
      '-days',
      '90',
    );
    const issuer = ['-CA', at('root.crt'), '-CAkey', at('root.key')];
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      at('key'),
      '-out',
      at('crt'),
      '-subj',
      `/CN=${device}`,
      '-days',
      String(days),
      ...issuer,
    );
    const certificate = new X509Certificate(readFileSync(at('crt')));
    const root = new X509Certificate(readFileSync(at('root.crt'))).raw;
    const identity: IdentityView = {
      realm: Realm.parse('test'),
      device: DeviceId.parse(device),
      serial: Serial.parse(certificate.serialNumber.toLowerCase()),
      notBefore: certificate.validFromDate,
      notAfter: certificate.validToDate,
      certificate: certificate.raw,
      chain: [root],
      privateKey: createPrivateKey(readFileSync(at('key'))),
    };
    return { identity, root };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

interface HeldVersion {
  state: DeviceKeyState;
  bytes: Uint8Array;
}

interface HeldKeyring {
  revision: number;
  active: KeyVersionNumber | null;
  accept: KeyVersionNumber[];
  versions: Map<KeyVersionNumber, HeldVersion>;
}

export class FakeAgentView implements AgentView {
  readonly #keyrings = new Map<KeySetName, HeldKeyring>();
  readonly #listeners = new Set<(change: AgentChange, generation: number) => void>();
  /** Copies of key bytes that were handed out: their receivers should have wiped them. */
  readonly handedOut: Uint8Array[] = [];
  #identity: IdentityView | undefined;
  #trust: TrustView | undefined;
  #generation = 0;
  #batch: AgentChange[] | undefined;

  identity(): IdentityView | undefined {
    return this.#identity;
  }

  trust(): TrustView | undefined {
    return this.#trust;
  }

  keyrings(): readonly KeyringView[] {
    return [...this.#keyrings].map(([keySet, { revision, active, accept, versions }]) => ({
      keySet,
      revision,
      active,
      accept: [...accept],
      versions: [...versions].map(([version, held]): KeyVersionView => {
        const kcv = createHmac('sha256', held.bytes).update('croupier kcv 1').digest('hex').slice(0, 10);
        return { version, state: held.state, algorithm: 'AES-256', use: 'wrap', kcv };
      }),
    }));
  }

  keyBytes(keySet: KeySetName, version: KeyVersionNumber): Uint8Array | undefined {
    const held = this.#keyrings.get(keySet)?.versions.get(version);
    if (held === undefined || held.state === 'retired' || held.state === 'destroyed') return undefined;
    const copy = Uint8Array.from(held.bytes);
    this.handedOut.push(copy);
    return copy;
  }

  generation(): number {
    return this.#generation;
  }

  onChange(listener: (change: AgentChange, generation: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }

  setIdentity(identity: IdentityView): void {
    this.#identity = identity;
    this.#tell({ kind: 'identity', serial: identity.serial });
  }

  setTrust(
    version: number,
    anchors: Readonly<Record<string, readonly Uint8Array[]>>,
    bundle: Uint8Array = randomBytes(64),
  ): void {
    this.#trust = {
      version: TrustVersion.parse(version),
      expiresAt: new Date('2030-01-01T00:00:00Z'),
      anchors,
      bundle,
    };
    this.#tell({ kind: 'trust', version: this.#trust.version });
  }

  /** A new version: stored and accepted. Returns its bytes. */
  store(name: string, number: number, bytes: Uint8Array = randomBytes(32)): Uint8Array {
    const version = KeyVersionNumber.parse(number);
    this.#change(name, (keyring) => {
      keyring.versions.set(version, { state: 'stored', bytes: Uint8Array.from(bytes) });
      keyring.accept.push(version);
    });
    return bytes;
  }

  activate(name: string, number: number): void {
    this.#change(name, (keyring) => {
      const before = keyring.active === null ? undefined : keyring.versions.get(keyring.active);
      if (before !== undefined) before.state = 'stored';
      keyring.active = KeyVersionNumber.parse(number);
      const now = keyring.versions.get(keyring.active);
      if (now !== undefined) now.state = 'active';
    });
  }

  retire(name: string, number: number): void {
    this.#end(name, number, 'retired');
  }

  destroy(name: string, number: number): void {
    this.#end(name, number, 'destroyed');
  }

  #end(name: string, number: number, state: DeviceKeyState): void {
    this.#change(name, (keyring) => {
      keyring.accept = keyring.accept.filter((version) => version !== number);
      const held = keyring.versions.get(KeyVersionNumber.parse(number));
      if (held === undefined) return;
      held.state = state;
      if (state === 'destroyed') held.bytes.fill(0);
    });
  }

  #change(name: string, change: (keyring: HeldKeyring) => void): void {
    const keySet = KeySetName.parse(name);
    const keyring = this.#keyrings.get(keySet) ?? { revision: 0, active: null, accept: [], versions: new Map() };
    this.#keyrings.set(keySet, keyring);
    change(keyring);
    keyring.revision += 1;
    this.#tell({ kind: 'keyring', keySet, revision: keyring.revision, active: keyring.active });
  }

  /** Several changes in one commit, as an update with several keyrings brings them. */
  together(change: () => void): void {
    this.#batch = [];
    change();
    const changes = this.#batch;
    this.#batch = undefined;
    this.#commit(changes);
  }

  /** A commit that changes nothing that applications see, such as a report. */
  commitUnseen(): void {
    this.#commit([]);
  }

  #tell(change: AgentChange): void {
    if (this.#batch === undefined) this.#commit([change]);
    else this.#batch.push(change);
  }

  #commit(changes: readonly AgentChange[]): void {
    this.#generation += 1;
    for (const change of changes) for (const listener of this.#listeners) listener(change, this.#generation);
  }
}
