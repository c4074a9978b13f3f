import { describe, expect, test } from 'vitest';
import type { TimeReading } from '#agent/clock/trusted-time.ts';
import { decideUpdate, type DeviceFacts } from '#agent/update/decide.ts';
import { DeviceId, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';

const DIGEST = Sha256.parse('aa'.repeat(32));
const OTHER = Sha256.parse('bb'.repeat(32));
const NOON = new Date('2026-06-01T12:00:00.000Z');

const facts: DeviceFacts = {
  realm: Realm.parse('test'),
  device: DeviceId.parse('egm-1'),
  lastSeq: Seq.parse(10),
  lastDigest: DIGEST,
  trustVersion: TrustVersion.parse(3),
};

const update = (changes: Partial<Record<keyof Update, unknown>> = {}): Update =>
  ({
    v: 1,
    type: 'update',
    realm: 'test',
    device: 'egm-1',
    seq: 11,
    issuedAt: NOON.toISOString(),
    expiresAt: new Date(NOON.getTime() + 1_000).toISOString(),
    nonce: null,
    trustVersion: 3,
    keyrings: [],
    time: NOON.toISOString(),
    ...changes,
  }) as Update;

const floorOnly = (now: Date, floor: Date): TimeReading => ({ now, trusted: false, floor });
const decide = (changes: Parameters<typeof update>[0], digest = OTHER, time = floorOnly(NOON, NOON)): string => {
  const decision = decideUpdate(facts, update(changes), digest, time);
  return decision.kind === 'refuse' ? decision.code : decision.kind;
};

describe('given a verified update', () => {
  test('that is newer, for this device, and needs no more trust than is held, then it is applied', () => {
    expect(decide({})).toBe('apply');
    expect(decide({ trustVersion: 1 })).toBe('apply');
  });

  test.each([
    ['of another realm', { realm: 'other' }, 'message.wrong-realm'],
    ['for another device', { device: 'egm-2' }, 'message.wrong-device'],
    ['older than the last', { seq: 9 }, 'message.replayed'],
    ['with the number of the last, but another', { seq: 10 }, 'message.conflict'],
    ['that needs a later bundle', { trustVersion: 4 }, 'walk-trust'],
  ])('%s, then: %s', (_, changes, expected) => {
    expect(decide(changes)).toBe(expected);
  });

  test('that is the last one again, then it is repeated', () => {
    expect(decide({ seq: 10 }, DIGEST)).toBe('repeat');
  });

  test('then the rules are taken in order: device before number, number before expiry, expiry before trust', () => {
    const expired = { expiresAt: NOON.toISOString() };
    expect(decide({ ...expired, realm: 'other', device: 'egm-2', seq: 1, trustVersion: 9 })).toBe(
      'message.wrong-realm',
    );
    expect(decide({ ...expired, device: 'egm-2', seq: 1, trustVersion: 9 })).toBe('message.wrong-device');
    expect(decide({ ...expired, seq: 1, trustVersion: 9 })).toBe('message.replayed');
    expect(decide({ ...expired, trustVersion: 9 })).toBe('message.expired');
  });
});

describe('given an update near its expiry', () => {
  const far = new Date('2099-01-01T00:00:00.000Z');

  test('when only the local clock says that it has expired, then it is applied', () => {
    expect(decide({}, OTHER, floorOnly(far, NOON))).toBe('apply');
  });

  test('when it is certain that it has expired, then it is refused', () => {
    expect(decide({}, OTHER, floorOnly(far, far))).toBe('message.expired');
    expect(decide({}, OTHER, { now: far, trusted: true, floor: far })).toBe('message.expired');
  });

  test('when the local clock is dead, then it is applied', () => {
    expect(decide({}, OTHER, floorOnly(new Date(0), new Date(0)))).toBe('apply');
  });
});
