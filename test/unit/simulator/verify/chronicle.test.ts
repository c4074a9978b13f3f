/** A device's history as the chronicle keeps it, and what it holds against the device (I5). */
import { beforeEach, describe, expect, test } from 'vitest';
import { KeySetName, KeyVersionNumber, Seq, Serial, TrustVersion } from '#schema/ids.ts';
import type { AgentView, KeyringView, KeyVersionView } from '#agent/view.ts';
import { planFloor } from '#simulator/floor/plan.ts';
import { Chronicle, coversMoment } from '#simulator/verify/chronicle.ts';

const plans = planFloor({ seed: 's', size: 4, now: new Date(0) });
const [plan] = plans;
if (plan === undefined) throw new Error('a floor has a device');
const { id } = plan;
const WALLET = KeySetName.parse('wallet-kek');

let now: number;
let chronicle: Chronicle;

beforeEach(() => {
  now = 1_000;
  chronicle = new Chronicle(plans, () => now);
});

const version = (number: number, state: KeyVersionView['state']): KeyVersionView => ({
  version: KeyVersionNumber.parse(number),
  state,
  algorithm: 'AES-256',
  use: 'wrap',
  kcv: '0123456789',
});

function keyring(revision: number, ...versions: readonly KeyVersionView[]): KeyringView {
  const active = versions.find(({ state }) => state === 'active')?.version ?? null;
  const accept = versions.filter(({ state }) => state !== 'retired').map((one) => one.version);
  return { keySet: WALLET, revision, active, accept, versions };
}

/** What an agent shows; only what the chronicle looks at is there. */
const view = (trust: number, ...keyrings: readonly KeyringView[]): AgentView => ({
  identity: () => undefined,
  trust: () => ({ version: TrustVersion.parse(trust), expiresAt: new Date(0), anchors: {}, bundle: new Uint8Array() }),
  keyrings: () => keyrings,
  keyBytes: () => undefined,
  generation: () => 0,
  onChange: () => () => undefined,
});

const applied = (seq: number) => ({ kind: 'update-applied', seq: Seq.parse(seq), deferred: false }) as const;
const setbacks = (): readonly string[] => chronicle.of(id).setbacks;

describe('going back', () => {
  test('given a device that only goes on, then nothing is held against it', () => {
    chronicle.noteView(id, view(1, keyring(1, version(1, 'active'))));
    chronicle.noteEvent(id, applied(10));
    chronicle.noteView(id, view(2, keyring(2, version(1, 'stored'), version(2, 'active'))));
    chronicle.noteEvent(id, applied(11));
    chronicle.noteView(id, view(2, keyring(3, version(2, 'active'))));
    expect(setbacks()).toEqual([]);
  });

  test('given a lower trust bundle, then that is held against it', () => {
    chronicle.noteView(id, view(2));
    chronicle.noteView(id, view(1));
    expect(setbacks()).toEqual(['went from trust bundle 2 back to 1']);
  });

  test.each([9, 10])('given update %d after update 10, then that is held against it', (seq) => {
    chronicle.noteEvent(id, applied(10));
    chronicle.noteEvent(id, applied(seq));
    expect(setbacks()).toEqual([`took update ${seq} after 10`]);
  });

  test('given a lower revision of a keyring, then that is held against it', () => {
    chronicle.noteView(id, view(1, keyring(2, version(1, 'active'))));
    chronicle.noteView(id, view(1, keyring(1, version(1, 'active'))));
    expect(setbacks()).toEqual(['went from revision 2 of wallet-kek back to 1']);
  });

  test('given a version that was destroyed and is there again, then that is held against it', () => {
    chronicle.noteView(id, view(1, keyring(1, version(1, 'stored'), version(2, 'active'))));
    chronicle.noteView(id, view(1, keyring(2, version(2, 'active'))));
    chronicle.noteView(id, view(1, keyring(3, version(1, 'stored'), version(2, 'active'))));
    expect(setbacks()).toEqual(['holds wallet-kek 1 again, which it had destroyed']);
  });

  test('given a storage that somebody has replaced and said so, then what was before binds it no more', () => {
    chronicle.noteView(id, view(2, keyring(2, version(2, 'active'))));
    chronicle.noteEvent(id, applied(10));
    chronicle.noteRestored(id);
    chronicle.noteView(id, view(1, keyring(1, version(1, 'active'))));
    chronicle.noteEvent(id, applied(9));
    expect(setbacks()).toEqual([]);
  });
});

describe('spans', () => {
  test('given versions that come and go, then each is in use and accepted from when to when', () => {
    chronicle.noteView(id, view(1, keyring(1, version(1, 'active'))));
    now = 2_000;
    chronicle.noteView(id, view(1, keyring(2, version(1, 'stored'), version(2, 'active'))));
    now = 3_000;
    chronicle.noteView(id, view(1, keyring(3, version(1, 'retired'), version(2, 'active'))));
    const { used, accepted } = chronicle.of(id);
    expect(used.map((span) => [span.version, span.from, span.to])).toEqual([
      [1, 1_000, 2_000],
      [2, 2_000, Infinity],
    ]);
    expect(accepted.map((span) => [span.version, span.from, span.to])).toEqual([
      [1, 1_000, 3_000],
      [2, 2_000, Infinity],
    ]);
    expect(coversMoment(accepted.slice(0, 1), 2_999)).toBe(true);
    expect(coversMoment(accepted.slice(0, 1), 3_000)).toBe(false);
  });

  test('given connections that end by themselves and by the power, then each has its end', () => {
    chronicle.noteEvent(id, { kind: 'connected', serial: Serial.parse('01') });
    now = 2_000;
    chronicle.noteEvent(id, { kind: 'disconnected', code: undefined });
    now = 3_000;
    chronicle.noteEvent(id, { kind: 'connected', serial: Serial.parse('01') });
    now = 4_000;
    chronicle.notePower(id, false);
    expect(chronicle.of(id).connections).toEqual([
      { from: 1_000, to: 2_000 },
      { from: 3_000, to: 4_000 },
    ]);
  });

  test('given a walk of three links after the first bundle, then three are counted', () => {
    const walk = (from: number, to: number): void =>
      chronicle.noteEvent(id, {
        kind: 'trust-advanced',
        from: TrustVersion.parse(from),
        to: TrustVersion.parse(to),
      });
    walk(0, 2);
    walk(2, 5);
    expect(chronicle.of(id).links).toBe(3);
  });
});
