import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bootIdAt, counterOf, digestAt, minuteOf, nonceAt } from '#simulator/model/stand-ins.ts';
import { Sha256, Timestamp } from '#schema/ids.ts';
import { Nonce } from '#schema/messages/common.ts';
import { Report } from '#schema/messages/report.ts';

describe('what stands in for digests, nonces, boot ids and times', () => {
  test('given any time, then its minute is written as a Date writes it', () => {
    const time = fc.integer({ min: 0, max: 4_102_444_800_000 });
    fc.assert(fc.property(time, (ms) => minuteOf(ms) === new Date(ms - (ms % 60_000)).toISOString()));
    expect(Timestamp.safeParse(minuteOf(1_799_999_999_999)).success).toBe(true);
  });

  test('given numbers, then each has its own, and the schemas of messages accept it', () => {
    expect(new Set([0, 1, 2, 16, 256, 999].map((number) => digestAt(number))).size).toBe(6);
    expect(Sha256.safeParse(digestAt(70_000)).success).toBe(true);
    expect(Nonce.safeParse(nonceAt(12)).success).toBe(true);
    expect(counterOf(nonceAt(4_711))).toBe(4_711);
    expect(Report.shape.bootId.safeParse(bootIdAt(300)).success).toBe(true);
  });
});
