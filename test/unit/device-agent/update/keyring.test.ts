import { describe, expect, test } from 'vitest';
import type { HeldKeyring } from '#agent/state/state.ts';
import { activateDeferred, applyKeyring, checkKeyring } from '#agent/update/keyring.ts';
import { KeySetName, KeyVersionNumber, Seq } from '#schema/ids.ts';
import type { KeyDelivery, KeyringUpdate } from '#schema/messages/update.ts';
import { keyringOf } from '#test/support/agent-states.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const number = (value: number): KeyVersionNumber => KeyVersionNumber.parse(value);
const SEQ = Seq.parse(100);
const LATER = new Date('2030-01-01T00:00:00.000Z');

interface Wish {
  readonly revision?: number;
  readonly active?: number | null;
  readonly accept?: readonly number[];
  readonly destroy?: readonly number[];
  readonly keys?: readonly number[];
}

const delivery = (version: number, kcv = '0123456789'): KeyDelivery => ({
  version: number(version),
  algorithm: 'AES-256',
  use: 'wrap',
  kcv,
  envelope: '',
});

function wish({
  revision = 9,
  accept = [],
  active = accept.at(-1) ?? null,
  destroy = [],
  keys = [],
}: Wish): KeyringUpdate {
  return {
    keySet: KeySetName.parse('wallet-kek'),
    revision,
    active: active === null ? null : number(active),
    accept: accept.map(number),
    destroy: destroy.map(number),
    keys: keys.map((version) => delivery(version)),
  };
}

function apply(held: HeldKeyring | undefined, wanted: Wish, busyUntil?: Date): HeldKeyring {
  const update = wish(wanted);
  checkKeyring(held, update);
  const opened = new Map(update.keys.map(({ version }) => [version, Buffer.alloc(32, version)]));
  return applyKeyring(held, update, opened, SEQ, busyUntil);
}

const states = (keyring: HeldKeyring): string[] => [
  ...keyring.versions.map(({ version, state }) => `${version} ${state}`),
  ...keyring.destroyed.map(({ version, listed }) => `${version} destroyed${listed ? '' : ' long ago'}`),
];

describe('given a keyring, when an update is applied', () => {
  test('then a delivered version is stored, or active if it says so', () => {
    expect(states(apply(undefined, { accept: [1], keys: [1] }))).toEqual(['1 active']);
    expect(states(apply(keyringOf(1), { accept: [1, 2], active: 1, keys: [2] }))).toEqual(['1 active', '2 stored']);
  });

  test('then what is no longer accepted is retired, kept, and may be accepted again', () => {
    const retired = apply(keyringOf(1, 2), { accept: [2] });
    expect(states(retired)).toEqual(['1 retired', '2 active']);
    expect(states(apply(retired, { revision: 10, accept: [1, 2] }))).toEqual(['1 stored', '2 active']);
  });

  test('then what is to be destroyed leaves no bytes, only a receipt with its check value', () => {
    const after = apply(keyringOf(1, 2), { accept: [2], destroy: [1] });
    expect(after.versions.map(({ version }) => version)).toEqual([2]);
    expect(after.destroyed).toEqual([{ version: 1, kcv: '0123456789', listed: true }]);
  });

  test('then a version that was never held is receipted too, and the receipt goes once nobody asks', () => {
    const after = apply(keyringOf(2), { accept: [2], destroy: [1] });
    expect(after.destroyed).toEqual([{ version: 1, kcv: null, listed: true }]);
    expect(states(apply(after, { revision: 10, accept: [2] }))).toEqual(['2 active', '1 destroyed long ago']);
  });

  test('then no active version means that none is used for new work', () => {
    expect(states(apply(keyringOf(1, 2), { accept: [1, 2], active: null }))).toEqual(['1 stored', '2 stored']);
  });
});

describe('given an application that is busy', () => {
  const rotation = { accept: [1, 2], active: 2, keys: [2] };

  test('when the active version changes, then the switch waits and everything else happens', () => {
    const after = apply(keyringOf(1), rotation, LATER);
    expect(states(after)).toEqual(['1 active', '2 stored']);
    expect(after).toMatchObject({ active: 1, revision: 9, deferred: { version: 2, seq: SEQ, until: LATER } });
    expect(states(activateDeferred(after))).toEqual(['1 stored', '2 active']);
    expect(activateDeferred(after).deferred).toBeUndefined();
  });

  test('when the version in use is retired meanwhile, then it is used until the switch, and retired by it', () => {
    const after = apply(keyringOf(1), { accept: [2], keys: [2] }, LATER);
    expect(states(after)).toEqual(['1 active', '2 stored']);
    expect(states(activateDeferred(after))).toEqual(['1 retired', '2 active']);
  });

  test('when the version in use is to be destroyed, then nothing waits', () => {
    expect(states(apply(keyringOf(1), { accept: [2], destroy: [1], keys: [2] }, LATER))).toEqual([
      '2 active',
      '1 destroyed',
    ]);
  });

  test('when there was no version in use, or none is to be used any more, then nothing waits', () => {
    expect(apply(undefined, { accept: [1], keys: [1] }, LATER).deferred).toBeUndefined();
    expect(apply(keyringOf(1), { accept: [1], active: null }, LATER).active).toBeNull();
  });

  test('when a newer update goes back to the version in use, then the deferred switch is forgotten', () => {
    const deferred = apply(keyringOf(1), rotation, LATER);
    expect(apply(deferred, { revision: 10, accept: [1, 2], active: 1 }, LATER).deferred).toBeUndefined();
  });
});

describe('given an update that contradicts itself or the past, then it is refused', () => {
  const destroyed = apply(keyringOf(1, 2), { accept: [2], destroy: [1] });
  test.each([
    ['an active version that is not accepted', 'message.malformed', keyringOf(1, 2), { accept: [1], active: 2 }],
    ['a version listed twice', 'message.malformed', keyringOf(1), { accept: [1, 1] }],
    ['a version both accepted and destroyed', 'message.malformed', keyringOf(1), { accept: [1], destroy: [1] }],
    ['an older revision', 'message.conflict', { ...keyringOf(1), revision: 10 }, { accept: [1] }],
    ['a destroyed version accepted', 'keyset.state-refused', destroyed, { accept: [1, 2] }],
    ['a destroyed version delivered', 'keyset.state-refused', destroyed, { accept: [2], keys: [1] }],
    ['an accepted version that nobody has', 'keyset.version-not-found', keyringOf(1), { accept: [1, 2] }],
  ] as const)('%s: %s', async (_, code, held, wanted) => {
    await expectRefusal(code, () => apply(held, wanted));
  });

  test('another key of a version held: message.conflict; the same one again does no harm', async () => {
    const update = { ...wish({ accept: [1] }), keys: [delivery(1, 'ffffffffff')] };
    await expectRefusal('message.conflict', () => checkKeyring(keyringOf(1), update));
    const after = apply(keyringOf(1), { accept: [1], keys: [1] });
    expect(after.versions).toEqual(keyringOf(1).versions);
  });
});
