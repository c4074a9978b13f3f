import { describe, expect, it } from 'vitest';
import { createMemoryKeyStore } from '#pki/keystore/memory.ts';

const data = Buffer.from('x');

describe('the key store in memory', () => {
  it('given a disconnected store, then every call fails with hsm.unavailable and a time to return; reconnected, its keys work', async () => {
    const since = new Date('2030-01-02T03:04:05Z');
    const keyStore = createMemoryKeyStore({ now: () => since });
    const signer = await keyStore.generateSigningKey('ca', 'EC-P256');
    await keyStore.generateWrappingKey('kek');
    const wrapped = await keyStore.wrap('kek', data, data);

    keyStore.disconnect('unplugged', 7);
    const outage = { code: 'hsm.unavailable', retryAfter: 7 };
    await expect(signer.sign(data)).rejects.toMatchObject(outage);
    await expect(keyStore.signer('ca')).rejects.toMatchObject(outage);
    await expect(keyStore.unwrap('kek', wrapped, data)).rejects.toMatchObject(outage);
    await expect(keyStore.random(1)).rejects.toMatchObject(outage);
    expect(keyStore.health()).toEqual({ state: 'unavailable', since, reason: 'unplugged' });

    keyStore.reconnect();
    expect(keyStore.health().state).toBe('ready');
    await expect(signer.sign(data)).resolves.toBeDefined();
    expect(Buffer.from(await keyStore.unwrap('kek', wrapped, data)).equals(data)).toBe(true);
  });

  it('given a random generator, then initialisation vectors come from it', async () => {
    const keyStore = createMemoryKeyStore({ random: (length) => new Uint8Array(length).fill(9) });
    await keyStore.generateWrappingKey('kek');

    expect(Buffer.from(await keyStore.wrap('kek', data, data)).subarray(1, 13)).toEqual(Buffer.alloc(12, 9));
  });
});
