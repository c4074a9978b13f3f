import { describe, expect, test } from 'vitest';
import { ModelDevice, type Conduct } from '#simulator/model/device.ts';
import { Holdings } from '#simulator/model/holdings.ts';
import { digestAt, minuteOf } from '#simulator/model/stand-ins.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Serial, Sha256, TrustVersion } from '#schema/ids.ts';
import { Report, type UpdateResult } from '#schema/messages/report.ts';
import { Update, type KeyringUpdate } from '#schema/messages/update.ts';

const REALM = Realm.parse('model');
const ID = DeviceId.parse('EGM-000001');
const WALLET = KeySetName.parse('wallet-kek');
const NOW = Date.UTC(2027, 0, 1);
const HOUR = 3_600_000;
const version = (number: number): KeyVersionNumber => KeyVersionNumber.parse(number);
const trust = (number: number): TrustVersion => TrustVersion.parse(number);

function device(conduct: Conduct = 'ordinary'): ModelDevice {
  const made = new ModelDevice({
    realm: REALM,
    id: ID,
    conduct,
    busyFor: () => HOUR,
    holdings: new Holdings(),
    identity: {
      serial: Serial.parse('0a'),
      notAfter: minuteOf(NOW + 24 * HOUR),
      keyFingerprint: Sha256.parse('a'.repeat(64)),
    },
    trustVersion: trust(1),
  });
  made.powerOn();
  made.isOnline = true;
  return made;
}

const key = (number: number): KeyringUpdate['keys'][number] => ({
  version: version(number),
  algorithm: 'AES-256',
  use: 'wrap',
  kcv: `000000000${number}`,
  envelope: '',
});

function update(seq: number, keyring: Partial<KeyringUpdate> | undefined, over: Partial<Update> = {}): Update {
  const time = minuteOf(NOW + seq);
  const keyrings =
    keyring === undefined
      ? []
      : [{ keySet: WALLET, revision: seq, active: null, accept: [], destroy: [], keys: [], ...keyring }];
  const expiresAt = minuteOf(NOW + seq + HOUR);
  const head = { v: 1 as const, type: 'update' as const, realm: REALM, device: ID, seq: Seq.parse(seq) };
  return Update.parse({
    ...head,
    issuedAt: time,
    expiresAt,
    nonce: null,
    trustVersion: trust(1),
    keyrings,
    time,
    ...over,
  });
}

/** What the device has to say after the update. */
function take(one: ModelDevice, given: Update, now = NOW): Report | undefined {
  one.takeUpdate(given, digestAt(0), trust(1), now);
  const [made] = one.outbox.splice(0);
  return made === undefined ? undefined : Report.parse(made.report);
}

const first = update(1, { active: version(1), accept: [version(1)], keys: [key(1)] });
const second = update(2, { active: version(2), accept: [version(1), version(2)], keys: [key(2)] });
const statesOf = (report: Report | undefined): string[] =>
  (report?.keyrings[0]?.versions ?? []).map(({ version: number, state }) => `${number} ${state}`);
const resultOf = (report: Report | undefined): UpdateResult | undefined => report?.results.at(-1);

describe('a device of the model', () => {
  test('given updates, when it applies them, then its reports show stored, active and destroyed versions', () => {
    const one = device();
    expect(statesOf(take(one, first))).toEqual(['1 active']);
    expect(statesOf(take(one, second))).toEqual(['1 stored', '2 active']);
    const last = take(one, update(3, { active: version(2), accept: [version(2)], destroy: [version(1)] }));
    expect(statesOf(last)).toEqual(['2 active', '1 destroyed']);
    expect(resultOf(last)).toEqual({ seq: 3, outcome: 'applied' });
  });

  test('given reports one after the other, then each names the one before and counts on, also after a restart', () => {
    const one = device();
    take(one, first);
    one.powerOn();
    one.connected(NOW);
    const reports = one.outbox.map(({ report }) => report.counter);
    expect(reports, 'nobody has acknowledged the first').toEqual([1, 2]);
    expect(one.outbox[1]?.report.previous).toBe(one.outbox[0]?.digest);
  });

  test('given a restart, when an update answers its latest report, then it believes the time; an older nonce proves nothing', () => {
    const one = device();
    one.connected(NOW);
    one.powerOn();
    one.connected(NOW);
    const [before = '', , fresh = ''] = one.outbox.splice(0).map(({ report }) => report.nonce);
    expect(take(one, update(1, undefined, { nonce: before }))?.clock.trusted).toBe(false);
    expect(take(one, update(2, undefined, { nonce: fresh }))?.clock.trusted).toBe(true);
  });

  test('given a busy application, then the version in use stays until it is free, or the power went', () => {
    const one = device('busy');
    take(one, first);
    one.wake(NOW + 2 * HOUR);
    const deferred = take(one, second, NOW + 2 * HOUR);
    expect(statesOf(deferred)).toEqual(['1 active', '2 stored']);
    expect(resultOf(deferred)).toMatchObject({ outcome: 'deferred', code: 'device.busy' });
    one.powerOn();
    one.connected(NOW + 2 * HOUR + 1);
    expect(one.wakeAt).toBe(NOW + 3 * HOUR);
    one.outbox.length = 0;
    one.wake(NOW + 3 * HOUR);
    expect(statesOf(one.outbox[0]?.report)).toEqual(['1 stored', '2 active']);
  });

  test('given a device that refuses, then nothing changes, and it says so at most once a minute', () => {
    const one = device('refuses');
    expect(resultOf(take(one, first))).toMatchObject({ seq: 1, outcome: 'refused' });
    expect(take(one, update(2, { keys: [key(1)], accept: [version(1)] }), NOW + 1)).toBeUndefined();
    expect(one.keyrings).toEqual([]);
    expect(one.wakeAt).toBe(NOW + 60_000);
    expect(resultOf(take(device(), first)), 'another one takes it').toMatchObject({ outcome: 'applied' });
  });

  test('given a device that hoards, then it stores and goes on using what it used', () => {
    const one = device('hoards');
    take(one, first);
    const report = take(one, second);
    expect(statesOf(report)).toEqual(['1 active', '2 stored']);
    expect(resultOf(report)).toEqual({ seq: 2, outcome: 'applied' });
  });

  test('given trust links, then it walks them one by one and never back', () => {
    const one = device();
    one.takeLinks(trust(1), trust(4), NOW);
    expect(one.outbox.map(({ report }) => report.trustVersion)).toEqual([2, 3, 4]);
    one.takeLinks(trust(1), trust(2), NOW);
    expect(one.trustVersion).toBe(4);
  });

  test('given devices that hold the same, then they share it', () => {
    const holdings = new Holdings();
    const one = device();
    take(one, first);
    expect(holdings.of(one.keyrings)).toBe(holdings.of([...one.keyrings]));
    expect(holdings.of(one.keyrings)).not.toBe(holdings.none);
  });
});
