import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { keyCheckValue } from '#pki/keys/kcv.ts';

describe('key check value', () => {
  test('given a key, when openssl computes the same HMAC, then the first 5 octets agree', () => {
    const key = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex');
    const mac = execFileSync(
      'openssl',
      ['mac', '-digest', 'SHA256', '-macopt', `hexkey:${key.toString('hex')}`, 'HMAC'],
      { input: 'croupier kcv 1' },
    );
    expect(keyCheckValue(key)).toBe(mac.toString('latin1').slice(0, 10).toLowerCase());
  });

  test('given two keys that differ in one bit, then their check values differ', () => {
    const key = Buffer.alloc(32, 7);
    const other = Buffer.alloc(32, 7);
    other[31] = 6;
    expect(keyCheckValue(key)).not.toBe(keyCheckValue(other));
    expect(keyCheckValue(key)).toBe(keyCheckValue(Buffer.alloc(32, 7)));
  });
});
