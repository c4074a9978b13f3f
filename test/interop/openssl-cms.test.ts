import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as pkijs from 'pkijs';
import { openEnvelope, sealEnvelope } from '#pki/cms/envelope.ts';
import { cosignMessage, signMessage } from '#pki/cms/sign.ts';
import { parseSignedData, verifyMessage, verifySignedBy } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import {
  CA,
  DEVICE,
  OpensslPki,
  SIGNER,
  flipped,
  messageSigner,
  type Issued,
  type TestKey,
} from '#test/unit/pki/cms/openssl-pki.ts';

const SECRET = Buffer.from('{"device":"EGM-000123","keySet":"wallet-kek","version":2,"key":"..."}');
const LIMITS = { maxBytes: 64 * 1024 };
const KEYS = ['EC-P256', 'EC-P384', 'RSA-2048'] as const;

interface Party {
  readonly ca: Issued;
  readonly signer: Issued;
  readonly device: Issued;
}

let pki: OpensslPki;
let root: Issued;
let parties: ReadonlyMap<TestKey, Party>;

beforeAll(() => {
  pki = new OpensslPki();
  root = pki.issue('root');
  const party = (key: TestKey): Party => {
    const ca = pki.issue(`ca-${key}`, { key, by: root });
    return {
      ca,
      signer: pki.issue('signer', { key, by: ca, extensions: [...SIGNER, `extendedKeyUsage=${OID.messageSigning}`] }),
      device: pki.issue('device', { key, by: ca, extensions: DEVICE }),
    };
  };
  parties = new Map(KEYS.map((key) => [key, party(key)]));
});
afterAll(() => pki[Symbol.dispose]());

const of = (key: TestKey): Party => {
  const party = parties.get(key);
  if (party === undefined) throw new Error(key);
  return party;
};
/** The key options that make openssl seal in our profile. */
const profileOf = (key: TestKey): string[] =>
  key === 'RSA-2048' ? ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256'] : ['ecdh_kdf_md:sha256'];
const inAnHour = (): Date => new Date(Date.now() + 3_600_000);

describe.each(KEYS)('with %s keys', (key) => {
  test('openssl verifies our message, then decrypts the envelope in it', async () => {
    const { ca, signer, device } = of(key);
    const envelope = sealEnvelope(SECRET, device.certificate);
    const message = await signMessage(envelope, messageSigner(signer, ca), { signingTime: new Date() });
    const messageFile = pki.file(`message-${key}`, message);
    const trust = ['-CAfile', root.certificateFile, '-purpose', 'any'];
    const content = pki.openssl('cms', '-verify', '-inform', 'DER', '-in', messageFile, ...trust, '-binary');
    expect(content).toEqual(Buffer.from(envelope));
    const envelopeFile = pki.file(`envelope-${key}`, content);
    const recipient = ['-inkey', device.keyFile, '-recip', device.certificateFile];
    expect(pki.openssl('cms', '-decrypt', '-binary', '-inform', 'DER', '-in', envelopeFile, ...recipient)).toEqual(
      SECRET,
    );
  });

  test('openssl refuses our message when it was altered', async () => {
    const { ca, signer } = of(key);
    const message = await signMessage(SECRET, messageSigner(signer, ca));
    const verifying = (der: Uint8Array) => () => {
      const file = pki.file(`altered-${key}`, der);
      return pki.openssl(
        'cms',
        '-verify',
        '-inform',
        'DER',
        '-in',
        file,
        '-CAfile',
        root.certificateFile,
        '-purpose',
        'any',
        '-binary',
      );
    };
    expect(verifying(message)()).toEqual(SECRET);
    expect(verifying(flipped(message, Buffer.from(message).indexOf(SECRET)))).toThrow(/failure/i);
  });

  test.each(['-keyid', '-nosmimecap'])('we verify what openssl signs (%s)', (option) => {
    const { ca, signer } = of(key);
    const contentFile = pki.file(`content-${key}`, SECRET);
    const by = ['-signer', signer.certificateFile, '-inkey', signer.keyFile, '-certfile', ca.certificateFile];
    const digest = ['-md', key === 'EC-P384' ? 'sha384' : 'sha256'];
    const message = pki.openssl(
      'cms',
      '-sign',
      '-binary',
      '-nodetach',
      '-in',
      contentFile,
      '-outform',
      'DER',
      ...by,
      ...digest,
      option,
    );
    expect(Buffer.from(verifySignedBy(message, signer.certificate, LIMITS))).toEqual(SECRET);
    const trust = { anchors: [root.certificate], at: inAnHour(), extendedKeyUsage: OID.messageSigning };
    const verified = verifyMessage(message, trust, LIMITS);
    expect(Buffer.from(verified.content)).toEqual(SECRET);
    expect(verified.signers[0]?.signingTime?.getTime()).toBeGreaterThan(Date.now() - 3_600_000);
    expect(() => verifyMessage(message, { ...trust, anchors: [of('EC-P256').signer.certificate] }, LIMITS)).toThrow(
      expect.objectContaining({ code: 'message.signer-untrusted' }),
    );
  });

  test.each([[], ['-keyid']])('we open what openssl encrypts %s', (...options) => {
    const { device } = of(key);
    const contentFile = pki.file(`secret-${key}`, SECRET);
    const recipient = [
      '-recip',
      device.certificateFile,
      ...profileOf(key).flatMap((option) => ['-keyopt', option]),
      ...options,
    ];
    const envelope = pki.openssl(
      'cms',
      '-encrypt',
      '-binary',
      '-aes-256-gcm',
      '-in',
      contentFile,
      '-outform',
      'DER',
      ...recipient,
    );
    expect(Buffer.from(openEnvelope(envelope, device))).toEqual(SECRET);
    expect(() => openEnvelope(flipped(envelope, envelope.length - 1), device)).toThrow(
      expect.objectContaining({ code: 'envelope.integrity-failed' }),
    );
  });

  test('pkijs verifies our message', async () => {
    const { signer, ca } = of(key);
    const message = await signMessage(SECRET, messageSigner(signer, ca), { signingTime: new Date() });
    const verifying = async (der: Uint8Array): Promise<boolean> => {
      const { content } = pkijs.ContentInfo.fromBER(Uint8Array.from(der).buffer);
      return new pkijs.SignedData({ schema: content }).verify({ signer: 0 });
    };
    await expect(verifying(message)).resolves.toBe(true);
    const altered = flipped(message, Buffer.from(message).indexOf(SECRET));
    await expect(verifying(altered).catch(() => false)).resolves.toBe(false);
  });
});

test('openssl decrypts an envelope of ours for several kinds of recipients, each its own', () => {
  for (const key of KEYS) {
    const { device } = of(key);
    const file = pki.file(`own-${key}`, sealEnvelope(SECRET, device.certificate));
    const decrypting = (who: Issued) => () =>
      pki.openssl(
        'cms',
        '-decrypt',
        '-binary',
        '-inform',
        'DER',
        '-in',
        file,
        '-inkey',
        who.keyFile,
        '-recip',
        who.certificateFile,
      );
    expect(decrypting(device)()).toEqual(SECRET);
    const [other] = KEYS.filter((candidate) => candidate !== key);
    expect(decrypting(of(other ?? key).device)).toThrow(/no matching recipient|Error decrypting/i);
  }
});

test('an envelope of openssl for several recipients is opened by each of them', () => {
  const contentFile = pki.file('for-all', SECRET);
  const recipients = KEYS.flatMap((key) => [
    '-recip',
    of(key).device.certificateFile,
    ...profileOf(key).flatMap((option) => ['-keyopt', option]),
  ]);
  const envelope = pki.openssl(
    'cms',
    '-encrypt',
    '-binary',
    '-aes-256-gcm',
    '-in',
    contentFile,
    '-outform',
    'DER',
    ...recipients,
  );
  for (const key of KEYS) expect(Buffer.from(openEnvelope(envelope, of(key).device))).toEqual(SECRET);
});

test('openssl verifies a message of two signers', async () => {
  const newRoot = pki.issue('new-root');
  const newSigner = pki.issue('new-signer', { by: newRoot, extensions: SIGNER });
  const { signer, ca } = of('EC-P256');
  const message = await cosignMessage(SECRET, [messageSigner(signer, ca), messageSigner(newSigner)]);
  expect(parseSignedData(message, LIMITS).signers).toHaveLength(2);
  const file = pki.file('cosigned', message);
  pki.file('both.pem', Buffer.concat([pki.read(root.certificateFile), pki.read(newRoot.certificateFile)]));
  const verifying = (anchors: string) => () =>
    pki.openssl('cms', '-verify', '-inform', 'DER', '-in', file, '-CAfile', anchors, '-purpose', 'any', '-binary');
  expect(verifying('both.pem')()).toEqual(SECRET);
  // openssl demands that every signer is trusted; ours asks for one of them.
  expect(verifying(root.certificateFile)).toThrow(/verify error/i);
});

test('a device certificate passes for openssl where its root is the anchor; with ours it never passes', async () => {
  const operations = pki.issue('operations', { by: root, extensions: CA });
  const { device, ca } = of('EC-P256');
  const forged = await signMessage(SECRET, messageSigner(device, ca));
  const file = pki.file('forged', forged);
  const accepted = pki.openssl(
    'cms',
    '-verify',
    '-inform',
    'DER',
    '-in',
    file,
    '-CAfile',
    root.certificateFile,
    '-purpose',
    'any',
    '-binary',
  );
  expect(accepted).toEqual(SECRET);
  const trust = { anchors: [operations.certificate], at: inAnHour() };
  const untrusted = expect.objectContaining({ code: 'message.signer-untrusted' });
  expect(() => verifyMessage(forged, trust, LIMITS)).toThrow(untrusted);
  const byRoot = { anchors: [root.certificate], at: inAnHour(), extendedKeyUsage: OID.messageSigning };
  expect(() => verifyMessage(forged, byRoot, LIMITS)).toThrow(untrusted);
});
