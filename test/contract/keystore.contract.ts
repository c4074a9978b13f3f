/** What every KeyStore promises. Run against the fake and against PKCS#11 on SoftHSM2. */
import { createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyAlgorithmOf } from '#pki/keys/software-key.ts';
import type { KeyAlgorithm } from '#pki/keys/signer.ts';
import type { KeyStore } from '#pki/keystore/port.ts';

export interface KeyStoreFixture {
  readonly keyStore: KeyStore;
  readonly remove: () => Promise<void>;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function verifies(spki: Uint8Array, algorithm: KeyAlgorithm, data: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  return verify(algorithm === 'EC-P384' ? 'sha384' : 'sha256', data, key, signature);
}

export function keyStoreContract(name: string, make: () => Promise<KeyStoreFixture>): void {
  describe(`${name} keeps the contract of KeyStore`, () => {
    let fixture: KeyStoreFixture;
    let keyStore: KeyStore;

    beforeAll(async () => {
      fixture = await make();
      keyStore = fixture.keyStore;
    });
    afterAll(() => fixture.remove());

    for (const algorithm of ['EC-P256', 'EC-P384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const) {
      it(`given a generated ${algorithm} key, when it signs, then its public half verifies the signature and no other data`, async () => {
        const signer = await keyStore.generateSigningKey(`sign/${algorithm}`, algorithm);
        const data = utf8('what is signed');
        const signature = await signer.sign(data);

        expect(signer.algorithm).toBe(algorithm);
        expect(keyAlgorithmOf(createPublicKey({ key: Buffer.from(signer.spki), format: 'der', type: 'spki' }))).toBe(
          algorithm,
        );
        expect(verifies(signer.spki, algorithm, data, signature)).toBe(true);
        expect(verifies(signer.spki, algorithm, utf8('something else'), signature)).toBe(false);
      });
    }

    it('given a key, when it is looked up by label, then it is the same key', async () => {
      const made = await keyStore.generateSigningKey('lookup', 'EC-P256');
      const found = await keyStore.signer('lookup');
      const data = utf8('x');

      expect(Buffer.from(found.spki)).toEqual(Buffer.from(made.spki));
      expect(verifies(made.spki, 'EC-P256', data, await found.sign(data))).toBe(true);
    });

    it('given many signatures at once, when all are made, then each verifies for its own data', async () => {
      const signer = await keyStore.generateSigningKey('parallel', 'EC-P256');
      const inputs = Array.from({ length: 100 }, (_, index) => utf8(`message ${index}`));
      const signatures = await Promise.all(inputs.map((data) => signer.sign(data)));

      expect(
        signatures.every((signature, index) => verifies(signer.spki, 'EC-P256', inputs[index] ?? utf8(''), signature)),
      ).toBe(true);
      expect(new Set(signatures.map((signature) => Buffer.from(signature).toString('hex'))).size).toBe(100);
    });

    it('given a label in use, when a key of either kind is generated under it, then hsm.key-exists and the old key still works', async () => {
      const signer = await keyStore.generateSigningKey('taken', 'EC-P256');

      await expect(keyStore.generateSigningKey('taken', 'EC-P256')).rejects.toMatchObject({ code: 'hsm.key-exists' });
      await expect(keyStore.generateWrappingKey('taken')).rejects.toMatchObject({ code: 'hsm.key-exists' });
      const data = utf8('x');
      expect(verifies(signer.spki, 'EC-P256', data, await (await keyStore.signer('taken')).sign(data))).toBe(true);
    });

    it('given two generations of one label at once, when both end, then one key was made and the other refused', async () => {
      const outcomes = await Promise.allSettled([
        keyStore.generateSigningKey('race', 'EC-P256'),
        keyStore.generateSigningKey('race', 'EC-P256'),
      ]);

      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      await expect(keyStore.signer('race')).resolves.toMatchObject({ algorithm: 'EC-P256' });
    });

    it('given no key of a label, when it is asked for, then hsm.key-not-found', async () => {
      await expect(keyStore.signer('nobody')).rejects.toMatchObject({ code: 'hsm.key-not-found' });
      await expect(keyStore.wrap('nobody', utf8('x'), utf8(''))).rejects.toMatchObject({ code: 'hsm.key-not-found' });
      await expect(keyStore.destroy('nobody')).rejects.toMatchObject({ code: 'hsm.key-not-found' });
    });

    it('given a key of one purpose, when it is used for the other, then hsm.key-not-found', async () => {
      await keyStore.generateSigningKey('only-signs', 'EC-P256');
      await keyStore.generateWrappingKey('only-wraps');

      await expect(keyStore.wrap('only-signs', utf8('x'), utf8(''))).rejects.toMatchObject({
        code: 'hsm.key-not-found',
      });
      await expect(keyStore.signer('only-wraps')).rejects.toMatchObject({ code: 'hsm.key-not-found' });
    });

    it('given an algorithm that is not kept in an HSM, when a key is generated, then hsm.mechanism-unsupported', async () => {
      await expect(keyStore.generateSigningKey('edwards', 'Ed25519')).rejects.toMatchObject({
        code: 'hsm.mechanism-unsupported',
      });
      expect(await keyStore.labels()).not.toContain('edwards');
    });

    it('given a label with other characters, when it is used, then input.invalid', async () => {
      for (const label of ['', ' ', 'a b', 'ä', 'a'.repeat(129), '../x\n']) {
        await expect(keyStore.signer(label)).rejects.toMatchObject({ code: 'input.invalid' });
      }
    });

    describe('wrapping', () => {
      const aad = utf8('realm/key-set/1');
      let wrapped: Uint8Array;

      beforeAll(async () => {
        await keyStore.generateWrappingKey('kek');
        wrapped = await keyStore.wrap('kek', utf8('key material'), aad);
      });

      it('given wrapped key material, when it is unwrapped with the same additional data, then it comes back', async () => {
        expect(Buffer.from(await keyStore.unwrap('kek', wrapped, aad)).toString()).toBe('key material');
      });

      it('given the limits of length, when wrapped and unwrapped, then it comes back; beyond them it is refused', async () => {
        for (const length of [1, 32, 65_536]) {
          const plaintext = new Uint8Array(length).fill(7);
          const blob = await keyStore.wrap('kek', plaintext, utf8(''));
          expect(Buffer.from(await keyStore.unwrap('kek', blob, utf8(''))).equals(plaintext)).toBe(true);
        }
        await expect(keyStore.wrap('kek', new Uint8Array(0), aad)).rejects.toMatchObject({ code: 'input.invalid' });
        await expect(keyStore.wrap('kek', new Uint8Array(65_537), aad)).rejects.toMatchObject({
          code: 'input.too-large',
        });
      });

      it('given the same key material, when wrapped twice, then the blobs differ and start with version 1', async () => {
        const again = await keyStore.wrap('kek', utf8('key material'), aad);

        expect(Buffer.from(again).equals(wrapped)).toBe(false);
        expect([again[0], wrapped[0]]).toEqual([1, 1]);
        expect(wrapped.length).toBe(1 + 12 + 'key material'.length + 16);
      });

      it('given a blob, when any octet of it is altered or it is cut short, then hsm.unwrap-failed and the store still works', async () => {
        for (const position of wrapped.keys()) {
          const altered = Uint8Array.from(wrapped);
          altered[position] = (altered[position] ?? 0) ^ 1;
          await expect(keyStore.unwrap('kek', altered, aad)).rejects.toMatchObject({ code: 'hsm.unwrap-failed' });
        }
        for (const length of [0, 1, 13, 29, wrapped.length - 1]) {
          await expect(keyStore.unwrap('kek', wrapped.subarray(0, length), aad)).rejects.toMatchObject({
            code: 'hsm.unwrap-failed',
          });
        }
        expect(keyStore.health()).toMatchObject({ state: 'ready' });
        await expect(keyStore.unwrap('kek', wrapped, aad)).resolves.toBeDefined();
      });

      it('given other additional data or another key, when unwrapped, then hsm.unwrap-failed', async () => {
        await keyStore.generateWrappingKey('other-kek');

        await expect(keyStore.unwrap('kek', wrapped, utf8('realm/key-set/2'))).rejects.toMatchObject({
          code: 'hsm.unwrap-failed',
        });
        await expect(keyStore.unwrap('other-kek', wrapped, aad)).rejects.toMatchObject({ code: 'hsm.unwrap-failed' });
      });
    });

    it('given a key, when it is destroyed, then it is gone for everybody who held it and its label is free again', async () => {
      const signer = await keyStore.generateSigningKey('short-lived', 'EC-P256');
      expect(await keyStore.labels()).toContain('short-lived');

      await keyStore.destroy('short-lived');

      expect(await keyStore.labels()).not.toContain('short-lived');
      await expect(keyStore.signer('short-lived')).rejects.toMatchObject({ code: 'hsm.key-not-found' });
      await expect(signer.sign(utf8('x'))).rejects.toMatchObject({ code: 'hsm.key-not-found' });
      const successor = await keyStore.generateSigningKey('short-lived', 'EC-P256');
      expect(Buffer.from(successor.spki).equals(signer.spki)).toBe(false);
      await expect(signer.sign(utf8('x'))).rejects.toMatchObject({ code: 'hsm.key-not-found' });
    });

    it('when random data is drawn, then it has the length asked for and differs; a length out of range is refused', async () => {
      const [one, two] = [await keyStore.random(32), await keyStore.random(32)];

      expect([one.length, two.length, (await keyStore.random(65_536)).length]).toEqual([32, 32, 65_536]);
      expect(Buffer.from(one).equals(two)).toBe(false);
      await expect(keyStore.random(0)).rejects.toMatchObject({ code: 'input.invalid' });
      await expect(keyStore.random(65_537)).rejects.toMatchObject({ code: 'input.too-large' });
    });

    it('given a closed store, when it is used, then hsm.unavailable; closing again does nothing', async () => {
      const other = await make();
      const signer = await other.keyStore.generateSigningKey('k', 'EC-P256');
      await other.keyStore.close();
      await other.keyStore.close();

      await expect(signer.sign(utf8('x'))).rejects.toMatchObject({ code: 'hsm.unavailable' });
      await expect(other.keyStore.labels()).rejects.toMatchObject({ code: 'hsm.unavailable' });
      expect(other.keyStore.health().state).toBe('unavailable');
      await other.remove();
    });
  });
}
