/** What only a real token can show: its errors, and its return after it was lost. */
import { execFile } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect, promisify } from 'node:util';
import pkcs11js, { type Handle, type PKCS11 } from 'pkcs11js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openPkcs11KeyStore } from '#pki/keystore/pkcs11/key-store.ts';
import { acquireModule } from '#pki/keystore/pkcs11/module.ts';
import { findSlots } from '#pki/keystore/pkcs11/token.ts';
import type { KeyStoreHealth } from '#pki/keystore/port.ts';
import { findSoftHsmModule, initToken, prepareSoftHsm } from '#pki/keystore/softhsm.ts';
import type { Signer } from '#pki/keys/signer.ts';
import { makeTestToken, type TestToken } from '#test/support/softhsm.ts';

const run = promisify(execFile);
const data = Buffer.from('what is signed');
const quickBreaker = { threshold: 2, initialBackoffMs: 20, maximumBackoffMs: 40 };

async function signs(signer: Signer): Promise<boolean> {
  const publicKey = createPublicKey({ key: Buffer.from(signer.spki), format: 'der', type: 'spki' });
  return verify('sha256', data, publicKey, await signer.sign(data));
}

/** Acts on the module as another part of the process would. */
async function behindItsBack(token: TestToken, act: (api: PKCS11, slot: Handle) => void): Promise<void> {
  const module = acquireModule(token.module);
  try {
    const [slot] = findSlots(module.api, token.label);
    if (slot === undefined) throw new Error('the token is not there');
    act(module.api, slot);
  } finally {
    module.release(undefined);
  }
}

/** Runs pkcs11-tool, logged in; the PIN travels in the environment. */
async function pkcs11Tool(token: TestToken, ...options: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(
    'pkcs11-tool',
    ['--module', token.module, '--token-label', token.label, '--login', '--pin', 'env:TOKEN_PIN', ...options],
    { env: { ...process.env, SOFTHSM2_CONF: token.configuration, TOKEN_PIN: token.pin } },
  );
  return stdout + stderr;
}

let token: TestToken;
beforeEach(async () => {
  token = await makeTestToken();
});
afterEach(() => token.remove());

describe('opening a key store', () => {
  it('given module, token and PIN, then it is ready', async () => {
    expect((await token.open()).health()).toMatchObject({ state: 'ready', sessions: 1 });
  });

  it('given the PIN as a buffer from a function, then it is ready and the buffer is wiped', async () => {
    const pin = Buffer.from(token.pin);
    await token.open({ pin: async () => pin });

    expect(pin.every((octet) => octet === 0)).toBe(true);
  });

  it('given a module that is not there or is no library, then hsm.module-missing', async () => {
    await expect(token.open({ module: '/nowhere/libpkcs11.so' })).rejects.toMatchObject({ code: 'hsm.module-missing' });
    await expect(token.open({ module: token.pinFile })).rejects.toMatchObject({ code: 'hsm.module-missing' });
  });

  it('given a label that no token has, then hsm.token-absent', async () => {
    await expect(token.open({ tokenLabel: 'another' })).rejects.toMatchObject({ code: 'hsm.token-absent' });
  });

  it('given a wrong PIN, then hsm.pin-wrong without the PIN anywhere in it; the right one opens', async () => {
    const error: unknown = await token.open({ pin: async () => 'wrong-pin-8472' }).catch((reason: unknown) => reason);

    expect(error).toMatchObject({ code: 'hsm.pin-wrong' });
    expect(inspect(error, { depth: 10 })).not.toContain('8472');
    expect((await token.open()).health().state).toBe('ready');
  });

  it('given an empty PIN file, then hsm.pin-wrong; given none, then config.missing', async () => {
    const empty = path.join(token.directory, 'empty');
    await writeFile(empty, '\n', { mode: 0o600 });

    await expect(token.open({ pin: { file: empty } })).rejects.toMatchObject({ code: 'hsm.pin-wrong' });
    await expect(token.open({ pin: { file: path.join(token.directory, 'none') } })).rejects.toMatchObject({
      code: 'config.missing',
    });
  });

  it('given a token directory that is gone, then hsm.unavailable names SOFTHSM2_CONF', async () => {
    await token.unplug();

    await expect(token.open()).rejects.toMatchObject({
      code: 'hsm.unavailable',
      message: expect.stringContaining('SOFTHSM2_CONF'),
    });
  });

  it('given a token that lacks a mechanism, when it is needed, then hsm.mechanism-unsupported names it; the others work', async () => {
    await writeFile(
      token.configuration,
      `directories.tokendir = ${path.join(token.directory, 'tokens')}\nobjectstore.backend = file\nslots.mechanisms = CKM_EC_KEY_PAIR_GEN,CKM_ECDSA,CKM_AES_KEY_GEN\n`,
    );
    const keyStore = await token.open();

    await expect(keyStore.generateSigningKey('rsa', 'RSA-2048')).rejects.toMatchObject({
      code: 'hsm.mechanism-unsupported',
      message: expect.stringContaining('CKM_RSA_PKCS_KEY_PAIR_GEN'),
    });
    await expect(keyStore.generateWrappingKey('kek')).rejects.toMatchObject({
      code: 'hsm.mechanism-unsupported',
      message: expect.stringContaining('CKM_AES_GCM'),
    });
    expect(await signs(await keyStore.generateSigningKey('ec', 'EC-P256'))).toBe(true);
  });
});

describe('tokens', () => {
  it('given a token of the label, when another is initialised, then data.initialised and the first still opens', async () => {
    await expect(initToken({ ...token, label: token.label })).rejects.toMatchObject({ code: 'data.initialised' });
    expect((await token.open()).health().state).toBe('ready');
  });

  it('given a short PIN or a label too long, then they are refused', async () => {
    await expect(initToken({ ...token, label: 'x', pin: '123' })).rejects.toMatchObject({ code: 'hsm.pin-wrong' });
    await expect(initToken({ ...token, label: 'x'.repeat(33) })).rejects.toMatchObject({ code: 'input.invalid' });
  });

  it('then directories are 0700 and the configuration is 0600', async () => {
    const mode = async (file: string): Promise<number> => (await stat(file)).mode & 0o777;

    expect([
      await mode(token.directory),
      await mode(path.join(token.directory, 'tokens')),
      await mode(token.configuration),
    ]).toEqual([0o700, 0o700, 0o600]);
  });

  it('given a token in another directory, then it opens once the first is closed, and not before', async () => {
    const first = await token.open();
    const signer = await first.generateSigningKey('root', 'EC-P256');
    await expect(makeTestToken()).rejects.toMatchObject({ code: 'config.invalid' });
    await first.close();

    const offline = await makeTestToken({ label: 'offline' });
    expect(await (await offline.open()).labels()).toEqual([]);
    await offline.remove();
    await prepareSoftHsm({ directory: token.directory });
    const again = await (await token.open()).signer('root');
    expect(Buffer.from(again.spki).equals(signer.spki)).toBe(true);
  });

  it('then the module is found where the system has it', () => {
    expect(findSoftHsmModule()).toMatch(/libsofthsm2\.so$/);
  });
});

describe('keys in the token', () => {
  it('given keys of Croupier, when pkcs11-tool asks for them, then it sees them as never extractable and gets none', async () => {
    const keyStore = await token.open();
    await keyStore.generateSigningKey('ca', 'EC-P256');
    await keyStore.generateWrappingKey('kek');

    const listing = await pkcs11Tool(token, '--list-objects', '--type', 'privkey');
    expect(listing).toMatch(/label:\s+ca/);
    expect(listing).toMatch(/Usage:\s+sign\n/);
    expect(listing).toMatch(/Access:\s+sensitive, always sensitive, never extractable, local/);
    expect(await pkcs11Tool(token, '--list-objects', '--type', 'secrkey')).toMatch(
      /Access:\s+sensitive, always sensitive, never extractable, local/,
    );
    await expect(pkcs11Tool(token, '--read-object', '--type', 'secrkey', '--label', 'kek')).rejects.toThrow();
    expect(await pkcs11Tool(token, '--read-object', '--type', 'pubkey', '--label', 'ca')).not.toBe('');
  });

  it('given keys of Croupier, when their values are asked for through a session that is logged in, then the token refuses them', async () => {
    const keyStore = await token.open();
    await keyStore.generateSigningKey('ca', 'EC-P256');
    await keyStore.generateWrappingKey('kek');

    await behindItsBack(token, (api, slot) => {
      const session = api.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
      const find = (objectClass: number): Handle => {
        api.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: objectClass }]);
        const [object] = api.C_FindObjects(session, 1);
        api.C_FindObjectsFinal(session);
        if (object === undefined) throw new Error('no such object');
        return object;
      };
      const [privateKey, wrappingKey] = [find(pkcs11js.CKO_PRIVATE_KEY), find(pkcs11js.CKO_SECRET_KEY)];
      for (const key of [privateKey, wrappingKey]) {
        expect(() => api.C_GetAttributeValue(session, key, [{ type: pkcs11js.CKA_VALUE }])).toThrow(
          'CKR_ATTRIBUTE_SENSITIVE',
        );
        expect(() => api.C_SetAttributeValue(session, key, [{ type: pkcs11js.CKA_EXTRACTABLE, value: true }])).toThrow(
          /CKR_/,
        );
      }
      expect(api.C_GetAttributeValue(session, privateKey, [{ type: pkcs11js.CKA_LABEL }])[0]?.value.toString()).toBe(
        'ca',
      );
      api.C_CloseSession(session);
    });
  });

  it('given a key that is extractable or decrypts, when it is asked for, then hsm.key-unsafe says why', async () => {
    const keyStore = await token.open();
    const generate = (label: string, extractable: boolean, decrypt: boolean): Promise<void> =>
      behindItsBack(token, (api, slot) => {
        const session = api.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
        const common = [
          { type: pkcs11js.CKA_TOKEN, value: true },
          { type: pkcs11js.CKA_LABEL, value: label },
        ];
        api.C_GenerateKeyPair(
          session,
          { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN },
          [...common, { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }],
          [
            ...common,
            { type: pkcs11js.CKA_SIGN, value: true },
            { type: pkcs11js.CKA_SENSITIVE, value: !extractable },
            { type: pkcs11js.CKA_EXTRACTABLE, value: extractable },
            { type: pkcs11js.CKA_DECRYPT, value: decrypt },
            { type: pkcs11js.CKA_UNWRAP, value: false },
          ],
        );
        api.C_CloseSession(session);
      });
    await generate('leaky', true, false);
    await generate('two-purposes', false, true);
    await generate('sound', false, false);

    await expect(keyStore.signer('leaky')).rejects.toMatchObject({
      code: 'hsm.key-unsafe',
      message: expect.stringContaining('CKA_EXTRACTABLE must be false'),
    });
    await expect(keyStore.signer('two-purposes')).rejects.toMatchObject({
      code: 'hsm.key-unsafe',
      message: expect.stringContaining('CKA_DECRYPT must be false'),
    });
    expect(await signs(await keyStore.signer('sound'))).toBe(true);
  });

  it('given a destroyed key, when pkcs11-tool lists the token, then nothing of the label is left', async () => {
    const keyStore = await token.open();
    await keyStore.generateSigningKey('kept', 'EC-P256');
    await keyStore.generateSigningKey('destroyed', 'EC-P256');
    await keyStore.destroy('destroyed');

    const listing = await pkcs11Tool(token, '--list-objects');
    expect(listing).toMatch(/label:\s+kept/);
    expect(listing).not.toMatch(/label:\s+destroyed/);
  });

  it('given a key that another process destroys, when it is used, then hsm.key-not-found and the other keys go on', async () => {
    const keyStore = await token.open();
    const kept = await keyStore.generateSigningKey('kept', 'EC-P256');
    const lost = await keyStore.generateSigningKey('lost', 'EC-P256');
    await pkcs11Tool(token, '--delete-object', '--type', 'privkey', '--label', 'lost');

    await expect(lost.sign(data)).rejects.toMatchObject({ code: 'hsm.key-not-found' });
    expect(await signs(kept)).toBe(true);
    expect(keyStore.health().state).toBe('ready');
  });
});

describe('recovery without a restart', () => {
  const losses: readonly (readonly [string, (api: PKCS11, slot: Handle) => void])[] = [
    ['its sessions are closed', (api, slot) => api.C_CloseAllSessions(slot)],
    [
      'it is logged out',
      (api, slot) => {
        const session = api.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
        api.C_Logout(session);
        api.C_CloseSession(session);
      },
    ],
    ['the module is finalised', (api) => api.C_Finalize()],
    [
      'the module is finalised and initialised',
      (api) => {
        api.C_Finalize();
        api.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
      },
    ],
  ];

  for (const [what, act] of losses) {
    for (const signing of ['async', 'sync'] as const) {
      it(`given that ${what} behind its back, when it is used (${signing}), then everything works as before`, async () => {
        const keyStore = await token.open({ signing, sessions: 4 });
        const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
        await keyStore.generateWrappingKey('kek');
        const wrapped = await keyStore.wrap('kek', data, data);
        await Promise.all(Array.from({ length: 8 }, () => signer.sign(data)));

        await behindItsBack(token, act);
        expect(await Promise.all(Array.from({ length: 20 }, () => signs(signer)))).not.toContain(false);
        await behindItsBack(token, act);
        expect(Buffer.from(await keyStore.unwrap('kek', wrapped, data)).equals(data)).toBe(true);
        await behindItsBack(token, act);
        expect(await keyStore.labels()).toEqual(['ca', 'kek']);
        await behindItsBack(token, act);
        expect(await signs(await keyStore.generateSigningKey('new', 'EC-P256'))).toBe(true);
        expect(keyStore.health().state).toBe('ready');
      });
    }
  }

  it('given two stores on two tokens of one module, when one has to renew the module, then each still signs with its own key', async () => {
    const other = await makeTestToken({ directory: token.directory, label: 'other' });
    const [storeA, storeB] = [await token.open(), await other.open()];
    const [a, b] = [
      await storeA.generateSigningKey('same-label', 'EC-P256'),
      await storeB.generateSigningKey('same-label', 'EC-P256'),
    ];
    for (let round = 0; round < 3; round += 1) {
      await behindItsBack(token, (api) => api.C_Finalize());
      const outcomes = await Promise.all(Array.from({ length: 20 }, (_, index) => signs(index % 2 === 0 ? a : b)));
      expect(outcomes).not.toContain(false);
    }
    await storeB.close();
    expect(await signs(a)).toBe(true);
  });

  it('given that the token goes away, then calls fail at once with a time to return, and work again when it is back', async () => {
    const changes: KeyStoreHealth['state'][] = [];
    const keyStore = await token.open({ breaker: quickBreaker, onHealthChange: ({ state }) => changes.push(state) });
    const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
    await keyStore.generateWrappingKey('kek');
    const wrapped = await keyStore.wrap('kek', data, data);
    const outage = { code: 'hsm.unavailable', retryAfter: expect.toSatisfy((seconds: number) => seconds >= 1) };

    await token.unplug();
    for (let i = 0; i < 3; i += 1) await expect(signer.sign(data)).rejects.toMatchObject(outage);
    await expect(keyStore.signer('ca')).rejects.toMatchObject(outage);
    await expect(keyStore.generateSigningKey('new', 'EC-P256')).rejects.toMatchObject(outage);
    await expect(keyStore.unwrap('kek', wrapped, data)).rejects.toMatchObject(outage);
    await expect(keyStore.labels()).rejects.toMatchObject(outage);
    expect(keyStore.health()).toMatchObject({
      state: 'unavailable',
      since: expect.any(Date),
      reason: expect.any(String),
    });

    await token.plugIn();
    await expect.poll(() => keyStore.health().state).toBe('ready');
    expect(changes).toEqual(['unavailable', 'ready']);
    expect(await signs(signer)).toBe(true);
    expect(Buffer.from(await keyStore.unwrap('kek', wrapped, data)).equals(data)).toBe(true);
    expect(await keyStore.labels()).toEqual(['ca', 'kek']);
  });

  it('given that the token was away between two calls only, then it is not mistaken for an empty one', async () => {
    const keyStore = await token.open({ breaker: quickBreaker });
    await keyStore.generateSigningKey('ca', 'EC-P256');
    const reader = await token.open({ breaker: quickBreaker });
    await reader.signer('ca');
    await token.unplug();
    await expect(reader.signer('not-loaded')).rejects.toMatchObject({ code: 'hsm.unavailable' });
    await token.plugIn();
    await expect.poll(() => reader.health().state).toBe('ready');

    await expect(reader.generateSigningKey('ca', 'EC-P256')).rejects.toMatchObject({ code: 'hsm.key-exists' });
    await token.unplug();
    await token.plugIn();
    await expect(keyStore.generateSigningKey('ca', 'EC-P256')).rejects.toMatchObject({ code: 'hsm.key-exists' });
  });

  it('given that the PIN changes while the token is lost, then it is not tried again and again, and the new one is taken from its source', async () => {
    let pin = token.pin;
    const asked: string[] = [];
    const source = async (): Promise<string> => {
      asked.push(pin);
      return pin;
    };
    const keyStore = await token.open({ breaker: quickBreaker, pin: source });
    const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
    pin = 'no-longer-the-pin';
    await behindItsBack(token, (api, slot) => api.C_CloseAllSessions(slot));
    for (let i = 0; i < 2; i += 1) await expect(signer.sign(data)).rejects.toMatchObject({ code: 'hsm.unavailable' });
    const before = asked.length;
    await expect.poll(() => asked.length).toBeGreaterThan(before + 2);
    await behindItsBack(token, (api, slot) => {
      expect(api.C_GetTokenInfo(slot).flags & pkcs11js.CKF_USER_PIN_LOCKED).toBe(0);
    });

    pin = token.pin;
    await expect.poll(() => keyStore.health().state).toBe('ready');
    expect(await signs(signer)).toBe(true);
  });
});

describe('load', () => {
  it('given more work than the queue takes, then what is too much is refused with a time to return, and the store stays healthy', async () => {
    const keyStore = await token.open({ sessions: 1, queueLimit: 5 });
    const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => signer.sign(data)));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');

    expect(outcomes.length - refused.length).toBe(6);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'hsm.unavailable', retryAfter: 2 });
    expect(keyStore.health().state).toBe('ready');
    expect(await signs(signer)).toBe(true);
  });

  it('given signatures under way, when the store closes, then those that run end, and the module can be opened again', async () => {
    const keyStore = await openPkcs11KeyStore({
      module: token.module,
      tokenLabel: token.label,
      pin: { file: token.pinFile },
      sessions: 2,
    });
    const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
    const running = Promise.allSettled(Array.from({ length: 30 }, () => signs(signer)));
    await keyStore.close();
    for (const outcome of await running) {
      if (outcome.status === 'fulfilled') expect(outcome.value).toBe(true);
      else expect(outcome.reason).toMatchObject({ code: 'hsm.unavailable' });
    }

    expect(await signs(await (await token.open()).signer('ca'))).toBe(true);
  });
});
