/** What a gateway says to devices (trust bundles, updates), signed with real keys under a real realm. */
import { Buffer } from 'node:buffer';
import { createHash, randomBytes } from 'node:crypto';
import { sealEnvelope } from '#pki/cms/envelope.ts';
import { cosignMessage, signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { encodeKeyPackage } from '#pki/keys/key-package.ts';
import { keyCheckValue } from '#pki/keys/kcv.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { KeyDelivery, Update } from '#schema/messages/update.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { createTestPki, DAY, type TestPki } from './test-pki.ts';

export interface KeyringWish {
  readonly keySet?: string;
  readonly revision?: number;
  readonly active?: number | null;
  readonly accept?: readonly number[];
  readonly destroy?: readonly number[];
  /** Versions to be delivered. */
  readonly keys?: readonly number[];
}

export interface PublishedBundle {
  readonly version: number;
  readonly der: Uint8Array;
  readonly digest: Sha256;
  readonly body: TrustBundle;
}

export interface BundleWish extends Partial<Omit<TrustBundle, 'messageSigners' | 'anchors'>> {
  /** Listed in the bundle. */
  readonly signers?: readonly MessageSigner[];
  /** Who signs it. */
  readonly by?: readonly MessageSigner[];
  readonly anchors?: Partial<TrustBundle['anchors']>;
}

const sha256 = (bytes: Uint8Array): Sha256 => Sha256.parse(createHash('sha256').update(bytes).digest('hex'));
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

export class MessageAuthority {
  readonly pki: TestPki;
  readonly realm: Realm;
  readonly signer: MessageSigner;
  readonly standby: MessageSigner;
  readonly bundles: PublishedBundle[] = [];
  /** Working keys by `keySet/version`. */
  readonly keys = new Map<string, Buffer>();
  private lastSeq = Date.now();

  private constructor(pki: TestPki, signer: MessageSigner, standby: MessageSigner) {
    this.pki = pki;
    this.realm = Realm.parse(pki.setting.realm);
    this.signer = signer;
    this.standby = standby;
  }

  /** `now` dates the authorities; validity of signers begins then. */
  static async create(options: { readonly realm?: string; readonly now?: Date } = {}): Promise<MessageAuthority> {
    const pki = await createTestPki(options);
    return new MessageAuthority(pki, await newSigner(pki, 'signer one'), await newSigner(pki, 'signer two'));
  }

  newSigner(name: string): Promise<MessageSigner> {
    return newSigner(this.pki, name);
  }

  /** The next link (or what `wish` makes of it), signed but not published. */
  async makeBundle(wish: BundleWish = {}): Promise<PublishedBundle> {
    const last = this.bundles.at(-1);
    const { signers = [this.signer, this.standby], by = [this.signer], anchors, ...fields } = wish;
    const root = [base64(this.pki.root.certificate)];
    const issuedAt = this.pki.setting.now;
    const body = TrustBundle.parse({
      v: 1,
      type: 'trust-bundle',
      realm: this.realm,
      version: (last?.version ?? 0) + 1,
      previous: last?.digest ?? null,
      issuedAt: issuedAt.toISOString(),
      expiresAt: new Date(issuedAt.getTime() + 80 * DAY).toISOString(),
      anchors: { identity: root, transport: root, messages: root, ...anchors },
      messageSigners: signers.map(({ certificate }, index) => ({
        spkiSha256: parseCertificate(certificate).spkiSha256,
        role: index === 0 ? 'current' : 'standby',
      })),
      ...fields,
    });
    const der = await cosignMessage(Buffer.from(JSON.stringify(body)), by);
    return { version: body.version, der, digest: sha256(der), body };
  }

  async publishBundle(wish: BundleWish = {}): Promise<PublishedBundle> {
    const bundle = await this.makeBundle(wish);
    this.bundles.push(bundle);
    return bundle;
  }

  keyOf(keySet: string, version: number): Buffer {
    const name = `${keySet}/${version}`;
    const key = this.keys.get(name) ?? randomBytes(32);
    this.keys.set(name, key);
    return key;
  }

  deliver(device: string, certificate: Uint8Array, keySet: string, version: number): KeyDelivery {
    const key = this.keyOf(keySet, version);
    const clear = encodeKeyPackage({ device, keySet, version, key });
    return {
      version: KeyVersionNumber.parse(version),
      algorithm: 'AES-256',
      use: 'wrap',
      kcv: keyCheckValue(key),
      envelope: base64(sealEnvelope(clear, certificate)),
    };
  }

  keyring(device: string, certificate: Uint8Array, wish: KeyringWish): Update['keyrings'][number] {
    const { keySet = 'wallet-kek', keys = [], accept = keys, active = accept.at(-1) ?? null, destroy = [] } = wish;
    const numbers = (list: readonly number[]): KeyVersionNumber[] => list.map((one) => KeyVersionNumber.parse(one));
    return {
      keySet: KeySetName.parse(keySet),
      revision: wish.revision ?? 1,
      active: active === null ? null : KeyVersionNumber.parse(active),
      accept: numbers(accept),
      destroy: numbers(destroy),
      keys: keys.map((version) => this.deliver(device, certificate, keySet, version)),
    };
  }

  nextSeq(): Seq {
    this.lastSeq += 1;
    return Seq.parse(this.lastSeq);
  }

  updateBody(device: string, fields: Partial<Update> = {}): Update {
    const now = new Date();
    return {
      v: 1,
      type: 'update',
      realm: this.realm,
      device: DeviceId.parse(device),
      seq: fields.seq ?? this.nextSeq(),
      issuedAt: now.toISOString(),
      expiresAt: new Date(now.getTime() + DAY).toISOString(),
      nonce: null,
      trustVersion: TrustVersion.parse(this.bundles.at(-1)?.version ?? 0),
      keyrings: [],
      time: now.toISOString(),
      ...fields,
    };
  }

  async sign(body: object, by: MessageSigner = this.signer): Promise<Uint8Array> {
    return signMessage(Buffer.from(JSON.stringify(body)), by);
  }
}

async function newSigner(pki: TestPki, commonName: string): Promise<MessageSigner> {
  const { signer } = await generateSoftwareKey('EC-P256');
  const { certificate } = await pki.issueOperational({ kind: 'message-signer', commonName, spki: signer.spki });
  return { signer, certificate, chain: [pki.operationsCa.certificate] };
}
