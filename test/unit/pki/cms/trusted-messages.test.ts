import { createHash, createPublicKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ChainCache } from '#pki/certificate/chain.ts';
import { cosignMessage, signMessage } from '#pki/cms/sign.ts';
import { verifyMessage, type MessageTrust } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import {
  CA,
  DEVICE,
  OpensslPki,
  SIGNER,
  flipped,
  messageSigner,
  offsetOf,
  refusalCode,
  seeded,
  type Issued,
} from './openssl-pki.ts';

const CONTENT = Buffer.from('{"v":1,"type":"update"}');
const LIMITS = { maxBytes: 16_384 };
const MESSAGE_SIGNER = [...SIGNER, `extendedKeyUsage=${OID.messageSigning}`];
/** An hour from now, so that certificates made during the test are valid. */
const NOW = new Date(Date.now() + 3_600_000);
const daysFromNow = (days: number): Date => new Date(NOW.getTime() + days * 86_400_000);

let pki: OpensslPki;
let root: Issued;
let operationsCa: Issued;
let signer: Issued;
let device: Issued;
let message: Uint8Array;
let trust: MessageTrust;

const coded = (code: string): unknown => expect.objectContaining({ code });

beforeAll(async () => {
  pki = new OpensslPki();
  root = pki.issue('root', { days: 100 });
  operationsCa = pki.issue('operations-ca', { by: root, days: 60 });
  const deviceCa = pki.issue('device-ca', { by: root });
  signer = pki.issue('signer', { by: operationsCa, extensions: MESSAGE_SIGNER });
  device = pki.issue('EGM-000123', { by: deviceCa, extensions: DEVICE });
  message = await signMessage(CONTENT, messageSigner(signer, operationsCa));
  trust = { anchors: [root.certificate], at: NOW, extendedKeyUsage: OID.messageSigning };
});
afterAll(() => pki[Symbol.dispose]());

describe('a message is trusted', () => {
  test('through its embedded chain to the root', () => {
    const verified = verifyMessage(message, trust, LIMITS);
    expect(Buffer.from(verified.content)).toEqual(CONTENT);
    expect(verified.signers.map(({ der }) => Buffer.from(der))).toEqual([Buffer.from(signer.certificate)]);
    expect(verified.signers[0]?.certificate.subject).toBe('CN=signer');
  });

  test('through an intermediate that is the anchor itself', () => {
    expect(() => verifyMessage(message, { ...trust, anchors: [operationsCa.certificate] }, LIMITS)).not.toThrow();
  });

  test('when its key is pinned, and not when another is', () => {
    const pinOf = ({ certificateFile }: Issued): string => {
      const spki = createPublicKey(pki.read(certificateFile)).export({ type: 'spki', format: 'der' });
      return createHash('sha256').update(spki).digest('hex');
    };
    const pinned =
      (...who: readonly Issued[]) =>
      () =>
        verifyMessage(message, { ...trust, pinnedSpkiSha256: who.map(pinOf) }, LIMITS);
    expect(pinned(device, signer)).not.toThrow();
    expect(pinned(device)).toThrow(coded('message.signer-untrusted'));
    expect(pinned()).toThrow(coded('message.signer-untrusted'));
  });

  test('at any time when time is to be ignored', () => {
    expect(() => verifyMessage(message, { ...trust, at: daysFromNow(1000) }, LIMITS)).toThrow(
      coded('certificate.expired'),
    );
    expect(() => verifyMessage(message, { ...trust, at: 'ignore-time' }, LIMITS)).not.toThrow();
  });
});

describe('a message is not trusted', () => {
  test('when a device signed it, though its certificate comes from the same root', async () => {
    const byDevice = await signMessage(CONTENT, messageSigner(device, pki.issue('device-ca', { by: root })));
    expect(() => verifyMessage(byDevice, { ...trust, anchors: [operationsCa.certificate] }, LIMITS)).toThrow(
      coded('message.signer-untrusted'),
    );
    expect(() => verifyMessage(byDevice, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
  });

  test('when the signer lacks the extended key usage', async () => {
    const tls = pki.issue('tls', { by: operationsCa, extensions: [...SIGNER, 'extendedKeyUsage=serverAuth'] });
    const byTls = await signMessage(CONTENT, messageSigner(tls, operationsCa));
    const { extendedKeyUsage: _, ...anyUsage } = trust;
    expect(() => verifyMessage(byTls, anyUsage, LIMITS)).not.toThrow();
    expect(() => verifyMessage(byTls, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
  });

  test('when its anchor is another root of the same name', () => {
    const impostor = pki.issue('root');
    expect(() => verifyMessage(message, { ...trust, anchors: [impostor.certificate] }, LIMITS)).toThrow(
      coded('message.signer-untrusted'),
    );
    expect(() => verifyMessage(message, { ...trust, anchors: [] }, LIMITS)).toThrow(coded('message.signer-untrusted'));
  });

  test('when it does not carry its certificate, or not the intermediate', async () => {
    const bare = await signMessage(CONTENT, messageSigner(signer, operationsCa), { embed: 'none' });
    expect(() => verifyMessage(bare, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
    const short = await signMessage(CONTENT, messageSigner(signer));
    expect(() => verifyMessage(short, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
    expect(() => verifyMessage(short, { ...trust, anchors: [operationsCa.certificate] }, LIMITS)).not.toThrow();
  });

  test('before or after the time of its signer', () => {
    expect(() => verifyMessage(message, { ...trust, at: daysFromNow(29) }, LIMITS)).not.toThrow();
    expect(() => verifyMessage(message, { ...trust, at: daysFromNow(31) }, LIMITS)).toThrow(
      coded('certificate.expired'),
    );
    expect(() => verifyMessage(message, { ...trust, at: daysFromNow(-1) }, LIMITS)).toThrow(
      coded('certificate.not-yet-valid'),
    );
  });

  test('when it was altered, which is said before anything about trust', () => {
    const altered = flipped(message, offsetOf(message, CONTENT));
    expect(() => verifyMessage(altered, { ...trust, anchors: [] }, LIMITS)).toThrow(coded('message.signature-invalid'));
  });

  test('when any one octet is changed at random', () => {
    const below = seeded(5280);
    for (let round = 0; round < 1000; round += 1) {
      const altered = Uint8Array.from(message);
      const offset = below(altered.length);
      altered[offset] = (altered[offset] ?? 0) ^ (1 + below(255));
      expect(
        refusalCode(() => verifyMessage(altered, trust, LIMITS)),
        `offset ${offset}`,
      ).toMatch(/^message\.(malformed|signature-invalid|signer-untrusted)$/);
    }
  });

  test('when it exceeds the limit', () => {
    expect(() => verifyMessage(message, trust, { maxBytes: message.length })).not.toThrow();
    expect(() => verifyMessage(message, trust, { maxBytes: message.length - 1 })).toThrow(coded('input.too-large'));
  });
});

describe('a message of two signers', () => {
  let newRoot: Issued;
  let newSigner: Issued;
  let both: Uint8Array;
  beforeAll(async () => {
    newRoot = pki.issue('new-root');
    newSigner = pki.issue('new-signer', { by: newRoot, extensions: MESSAGE_SIGNER });
    both = await cosignMessage(CONTENT, [messageSigner(signer, operationsCa), messageSigner(newSigner)]);
  });
  const two = { ...LIMITS, maxSigners: 2 };

  test('is trusted from either side, and each side learns whom it trusts', () => {
    const fromOld = verifyMessage(both, trust, two);
    expect(fromOld.signers.map(({ certificate }) => certificate.subject)).toEqual(['CN=signer']);
    const fromNew = verifyMessage(both, { ...trust, anchors: [newRoot.certificate] }, two);
    expect(fromNew.signers.map(({ certificate }) => certificate.subject)).toEqual(['CN=new-signer']);
    const fromBoth = verifyMessage(both, { ...trust, anchors: [root.certificate, newRoot.certificate] }, two);
    expect(fromBoth.signers).toHaveLength(2);
  });

  test('is refused where one signer is expected', () => {
    expect(() => verifyMessage(both, trust, LIMITS)).toThrow(coded('message.malformed'));
  });

  test('is refused when either signature does not hold', () => {
    const signatures = [...both.keys()].filter(
      (offset) => both[offset] === 0x04 && both[offset + 2] === 0x30 && both[offset + 4] === 0x02,
    );
    expect(signatures).toHaveLength(2);
    for (const offset of signatures) {
      expect(() => verifyMessage(flipped(both, offset + 20), trust, two)).toThrow(coded('message.signature-invalid'));
    }
  });
});

describe('with a cache', () => {
  test('a known signer is trusted again, for the same question only', async () => {
    const cache = new ChainCache();
    const options = { ...LIMITS, cache };
    expect(verifyMessage(message, trust, options).signers).toHaveLength(1);
    expect(cache.size).toBe(1);
    // The path is known now, so that the intermediate need not come along.
    const short = await signMessage(CONTENT, messageSigner(signer));
    expect(verifyMessage(short, trust, options).signers).toHaveLength(1);
    expect(() => verifyMessage(short, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
    const other: Partial<MessageTrust>[] = [{ anchors: [device.certificate] }, { extendedKeyUsage: OID.auditSigning }];
    for (const change of other) {
      expect(() => verifyMessage(message, { ...trust, ...change }, options)).toThrow(coded('message.signer-untrusted'));
    }
    expect(() => verifyMessage(message, { ...trust, at: daysFromNow(31) }, options)).toThrow(
      coded('certificate.expired'),
    );
    expect(() => verifyMessage(flipped(message, offsetOf(message, CONTENT)), trust, options)).toThrow(
      coded('message.signature-invalid'),
    );
    expect(cache.size).toBe(1);
  });

  test('it keeps no more than its limit, and drops the oldest', () => {
    const cache = new ChainCache(2);
    const options = { ...LIMITS, cache };
    const questions = [[root], [root, operationsCa], [operationsCa]].map((anchors) => ({
      ...trust,
      anchors: anchors.map(({ certificate }) => certificate),
    }));
    for (const question of questions) verifyMessage(message, question, options);
    expect(cache.size).toBe(2);
    expect(questions.map((question) => cache.find(signer.certificate, question) !== undefined)).toEqual([
      false,
      true,
      true,
    ]);
  });
});

test('CA certificates cannot sign messages', async () => {
  const signingCa = pki.issue('signing-ca', {
    by: root,
    extensions: [
      ...CA.filter((line) => !line.startsWith('keyUsage')),
      'keyUsage=keyCertSign,digitalSignature',
      `extendedKeyUsage=${OID.messageSigning}`,
    ],
  });
  expect(() => verifyMessage(message, trust, LIMITS)).not.toThrow();
  const byCa = await signMessage(CONTENT, messageSigner(signingCa));
  expect(() => verifyMessage(byCa, trust, LIMITS)).toThrow(coded('message.signer-untrusted'));
});
