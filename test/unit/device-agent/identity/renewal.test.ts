import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { renewalBefore, renewalTime } from '#agent/identity/renewal.ts';

const DAY = 86_400_000;
const notBefore = new Date('2026-01-01T00:00:00.000Z');
const notAfter = new Date(notBefore.getTime() + 300 * DAY);

test('given any certificate, then it is renewed between two thirds of its validity and a twentieth later', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), (der) => {
      const days = (renewalTime({ der, notBefore, notAfter }).getTime() - notBefore.getTime()) / DAY;
      expect(days).toBeGreaterThanOrEqual(200);
      expect(days).toBeLessThanOrEqual(215);
    }),
  );
});

test('given many certificates, then their renewals are spread; one certificate always has the same', () => {
  const times = Array.from({ length: 100 }, (_, index) => renewalTime({ der: Buffer.of(index), notBefore, notAfter }));
  expect(new Set(times.map(Number)).size).toBe(100);
  expect(renewalTime({ der: Buffer.of(1), notBefore, notAfter })).toEqual(times[1]);
});

test('given a deadline, then the renewal lies before it, and is due at once when it has passed', () => {
  const deadline = new Date(notBefore.getTime() + 10 * DAY);
  for (let index = 0; index < 100; index += 1) {
    const at = renewalBefore(deadline, notBefore, Buffer.of(index));
    expect(at >= notBefore && at < deadline).toBe(true);
  }
  expect(renewalBefore(notBefore, deadline, Buffer.of(1))).toEqual(deadline);
});
