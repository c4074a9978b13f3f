import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  exportPrivateKeyPem,
  generateSoftwareKey,
  hashOf,
  importPrivateKeyPem,
  keyAlgorithmOf,
  softwareSigner,
} from '#pki/keys/software-key.ts';
import { KEY_ALGORITHMS } from '#pki/keys/signer.ts';

const data = Buffer.from('what is signed');

describe('software keys', () => {
  for (const algorithm of KEY_ALGORITHMS) {
    it(`given a generated ${algorithm} key, when stored as PEM and read again, then it signs and the first public half verifies`, async () => {
      const { privateKey, signer } = await generateSoftwareKey(algorithm);
      const again = softwareSigner(importPrivateKeyPem(exportPrivateKeyPem(privateKey)));
      const publicKey = createPublicKey({ key: Buffer.from(signer.spki), format: 'der', type: 'spki' });

      expect([signer.algorithm, again.algorithm, keyAlgorithmOf(publicKey)]).toEqual([algorithm, algorithm, algorithm]);
      expect(verify(hashOf(algorithm), data, publicKey, await again.sign(data))).toBe(true);
      expect(verify(hashOf(algorithm), Buffer.from('else'), publicKey, await again.sign(data))).toBe(false);
    });
  }

  it.each([
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' })],
    ['RSA 1024', generateKeyPairSync('rsa', { modulusLength: 1024 })],
    ['RSA with exponent 3', generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 })],
    ['RSA-PSS', generateKeyPairSync('rsa-pss', { modulusLength: 2048 })],
    ['X25519', generateKeyPairSync('x25519')],
  ])(
    'given a key of %s, then it is of no accepted algorithm and cannot sign or be imported',
    (_, { publicKey, privateKey }) => {
      expect(keyAlgorithmOf(publicKey)).toBeUndefined();
      expect(() => softwareSigner(privateKey)).toThrow(expect.objectContaining({ code: 'input.invalid' }));
      expect(() => importPrivateKeyPem(exportPrivateKeyPem(privateKey))).toThrow(
        expect.objectContaining({ code: 'input.invalid' }),
      );
    },
  );

  it('given a public key, when a signer is made of it, then input.invalid', () => {
    expect(() => softwareSigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)).toThrow(
      expect.objectContaining({ code: 'input.invalid' }),
    );
  });

  it('given a file that is no private key, encrypted or too long, then it is refused without quoting it', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const encrypted = privateKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'p' });

    expect(() => importPrivateKeyPem('SECRET')).toThrow(
      expect.objectContaining({ code: 'input.invalid', message: expect.not.stringContaining('SECRET') }),
    );
    expect(() => importPrivateKeyPem(encrypted)).toThrow(expect.objectContaining({ code: 'input.invalid' }));
    expect(() => importPrivateKeyPem('x'.repeat(16_385))).toThrow(expect.objectContaining({ code: 'input.too-large' }));
  });
});
