/** The life of an authority, step by step: what is allowed, and what becomes of the others. */
import { Buffer } from 'node:buffer';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AuthorityRecord, AuthorityRole, AuthorityState } from '#gateway/ports/store/records.ts';
import type { AuthorityFacts, AuthorityOutcome } from '#gateway/ports/store/trust.ts';
import {
  decideInstallation,
  decidePreparation,
  decideRecertification,
  decideRoot,
  decideSwitch,
  decideWithdrawal,
  nextGeneration,
  type Step,
  type SwitchedRole,
} from '#gateway/trust/decide-authority.ts';
import { composeBundle } from '#gateway/trust/bundle.ts';
import { Realm, Sha256, TrustVersion } from '#schema/ids.ts';
import { createTestPki, freshSpki, type TestPki } from '#test/support/test-pki.ts';

const BEFORE = new Date('2026-11-01T00:00:00Z');
const NOW = new Date('2026-11-21T00:00:00Z');
const STEP: Step = { at: NOW, actor: { type: 'operator', id: 'ada' }, approval: undefined };

let pki: TestPki;
let signers: readonly Uint8Array[];

beforeAll(async () => {
  pki = await createTestPki();
  const made = [1, 2, 3].map(async (number) => {
    const spki = await freshSpki('EC-P256');
    return (await pki.issueOperational({ kind: 'message-signer', commonName: `Signer ${number}`, spki })).certificate;
  });
  signers = await Promise.all(made);
});

const record = (
  role: AuthorityRole,
  keyLabel: string,
  state: AuthorityState,
  certificate?: Uint8Array,
): AuthorityRecord => ({ role, keyLabel, state, certificate, createdAt: BEFORE, changedAt: BEFORE });

const signer = (index: number): Uint8Array => signers[index] ?? Buffer.alloc(0);

/** A realm as it begins, with these beside or instead. */
function realm(...others: readonly AuthorityRecord[]): AuthorityRecord[] {
  const begun = [
    record('root', 'root', 'current', pki.root.certificate),
    record('device-ca', 'device-ca-1', 'current', pki.deviceCa.certificate),
    record('operations-ca', 'operations-ca-1', 'current', pki.operationsCa.certificate),
    record('message-signer', 'message-signer-1', 'current', signer(0)),
    record('message-signer-standby', 'message-signer-2', 'current', signer(1)),
  ];
  return [...begun.filter(({ keyLabel }) => !others.some((other) => other.keyLabel === keyLabel)), ...others];
}

/** A released bundle that names exactly these. */
function released(identity: readonly Uint8Array[], standby: Uint8Array | undefined): AuthorityFacts['releasedBundle'] {
  const body = composeBundle({
    realm: Realm.parse('test'),
    previous: undefined,
    anchors: {
      identity,
      transport: [pki.root.certificate],
      messages: [pki.operationsCa.certificate],
      others: {},
    },
    current: signer(0),
    standby,
    now: BEFORE,
    validityMs: 1_000,
  });
  return { version: TrustVersion.parse(1), der: Buffer.alloc(0), sha256: Sha256.parse('0'.repeat(64)), body };
}

const facts = (records: readonly AuthorityRecord[], over: Partial<AuthorityFacts> = {}): AuthorityFacts => ({
  records,
  releasedBundle: released([pki.deviceCa.certificate], signer(1)),
  devicesUnder: () => 0,
  devicesBehind: () => ({ connected: 0, away: 0 }),
  ...over,
});

const states = (outcome: AuthorityOutcome): readonly string[] =>
  outcome.kind === 'change'
    ? outcome.put.map(({ keyLabel, role, state }) => `${keyLabel} ${role} ${state}`)
    : [outcome.error.code];

const switchTo = (
  known: AuthorityFacts,
  role: SwitchedRole,
  how: { readonly compromised?: boolean; readonly force?: boolean } = {},
): AuthorityOutcome => decideSwitch(known, { role, compromised: false, force: false, ...how }, STEP);

describe('preparing', () => {
  test('given a realm that has just begun, when a Device CA is prepared, then its key waits for a certificate', () => {
    const outcome = decidePreparation(facts(realm()), { role: 'device-ca', keyLabel: 'device-ca-2' }, STEP);
    expect(states(outcome)).toEqual(['device-ca-2 device-ca prepared']);
    expect(outcome.audit).toMatchObject([{ action: 'authority.prepare', outcome: 'success', actor: { id: 'ada' } }]);
  });

  test('given one that is prepared, when another is, then the first is taken up again and no second key is wanted', () => {
    const waiting = record('device-ca', 'device-ca-2', 'prepared');
    const outcome = decidePreparation(facts(realm(waiting)), { role: 'device-ca', keyLabel: 'device-ca-3' }, STEP);
    expect(outcome).toMatchObject({ kind: 'change', put: [], prepared: { keyLabel: 'device-ca-2' } });
  });

  test('given one that is next, when another is prepared, then it is refused; for another role it is not', () => {
    const known = facts(realm(record('device-ca', 'device-ca-2', 'next', pki.deviceCa.certificate)));
    expect(states(decidePreparation(known, { role: 'device-ca', keyLabel: 'device-ca-3' }, STEP))).toEqual([
      'authority.state-refused',
    ]);
    expect(states(decidePreparation(known, { role: 'operations-ca', keyLabel: 'operations-ca-2' }, STEP))).toEqual([
      'operations-ca-2 operations-ca prepared',
    ]);
  });

  test.each([
    ['device-ca', ['device-ca-1', 'operations-ca-4'], 2],
    ['device-ca', ['device-ca-1', 'device-ca-7', 'kek-9'], 8],
    ['message-signer-standby', ['message-signer-1', 'message-signer-2'], 3],
    ['root', ['root'], 2],
    ['root', ['root', 'root-2'], 3],
    ['operations-ca', [], 1],
  ] as const)('given %s and the labels %j, then the next is number %i', (role, labels, expected) => {
    expect(nextGeneration(role, labels)).toBe(expected);
  });
});

describe('installing', () => {
  test('given one that is prepared, when its certificate comes, then it is next; a second one is refused, so is an unknown', () => {
    const { certificate } = pki.deviceCa;
    const waiting = facts(realm(record('device-ca', 'device-ca-2', 'prepared')));
    const outcome = decideInstallation(waiting, { keyLabel: 'device-ca-2', certificate }, STEP);
    expect(states(outcome)).toEqual(['device-ca-2 device-ca next']);
    expect(outcome).toMatchObject({ put: [{ certificate, changedAt: NOW, createdAt: BEFORE }] });
    expect(states(decideInstallation(waiting, { keyLabel: 'device-ca-1', certificate }, STEP))).toEqual([
      'authority.state-refused',
    ]);
    expect(states(decideInstallation(waiting, { keyLabel: 'device-ca-9', certificate }, STEP))).toEqual([
      'authority.not-found',
    ]);
  });

  test('given another root, when it is installed, then it is next; the same certificate again is refused', async () => {
    const other = await createTestPki({ now: new Date(pki.setting.now.getTime() + 1000) });
    const { certificate } = other.root;
    expect(states(decideRoot(facts(realm()), { keyLabel: 'root-2', certificate }, STEP))).toEqual(['root-2 root next']);
    const known = { keyLabel: 'root-2', certificate: pki.root.certificate };
    expect(states(decideRoot(facts(realm()), known, STEP))).toEqual(['authority.state-refused']);
    const twice = facts(realm(record('root', 'root-2', 'next', certificate)));
    expect(states(decideRoot(twice, { keyLabel: 'root-3', certificate }, STEP))).toEqual(['authority.state-refused']);
  });

  test('given a signer in use, when it is certified anew, then it keeps its state; one that is withdrawn is refused', () => {
    const anew = { keyLabel: 'message-signer-1', certificate: signer(2) };
    expect(states(decideRecertification(facts(realm()), anew, STEP))).toEqual([
      'message-signer-1 message-signer current',
    ]);
    const gone = facts(realm(record('message-signer', 'message-signer-1', 'compromised', signer(0))));
    expect(states(decideRecertification(gone, anew, STEP))).toEqual(['authority.state-refused']);
  });
});

describe('switching a CA', () => {
  let nextCa: Uint8Array;
  let records: AuthorityRecord[];

  beforeAll(async () => {
    nextCa = (await createTestPki({ realm: 'test' })).deviceCa.certificate;
    records = realm(record('device-ca', 'device-ca-2', 'next', nextCa));
  });

  test('given a released bundle that names the next one, when switched, then it is current and the old one previous', () => {
    const known = facts(records, { releasedBundle: released([pki.deviceCa.certificate, nextCa], signer(1)) });
    expect(states(switchTo(known, 'device-ca'))).toEqual([
      'device-ca-1 device-ca previous',
      'device-ca-2 device-ca current',
    ]);
  });

  test('given none is next, or the released bundle does not name it, when switched, then it is refused, forced or not', () => {
    expect(states(switchTo(facts(realm()), 'device-ca'))).toEqual(['authority.state-refused']);
    for (const releasedBundle of [released([pki.deviceCa.certificate], undefined), undefined]) {
      expect(states(switchTo(facts(records, { releasedBundle }), 'device-ca', { force: true }))).toEqual([
        'authority.state-refused',
      ]);
    }
  });

  test('given connected devices that do not hold that bundle, when switched, then it waits for them, unless forced; those away do not count', () => {
    const releasedBundle = released([pki.deviceCa.certificate, nextCa], signer(1));
    const behind = facts(records, { releasedBundle, devicesBehind: () => ({ connected: 3, away: 0 }) });
    expect(states(switchTo(behind, 'device-ca'))).toEqual(['authority.state-refused']);
    expect(states(switchTo(behind, 'device-ca', { force: true }))).toHaveLength(2);
    const away = facts(records, { releasedBundle, devicesBehind: () => ({ connected: 0, away: 90 }) });
    expect(states(switchTo(away, 'device-ca'))).toHaveLength(2);
  });

  test('given a CA, when it is switched as compromised, then that is refused: it is withdrawn instead', () => {
    const known = facts(records, { releasedBundle: released([pki.deviceCa.certificate, nextCa], signer(1)) });
    expect(states(switchTo(known, 'device-ca', { compromised: true }))).toEqual(['authority.state-refused']);
  });
});

describe('switching message signers', () => {
  test('given current and standby, when switched, then they change places', () => {
    expect(states(switchTo(facts(realm()), 'message-signer'))).toEqual([
      'message-signer-1 message-signer-standby current',
      'message-signer-2 message-signer current',
    ]);
  });

  test('given a standby that devices do not know yet, when switched, then it is refused', () => {
    const known = facts(realm(), { releasedBundle: released([pki.deviceCa.certificate], undefined) });
    expect(states(switchTo(known, 'message-signer'))).toEqual(['authority.state-refused']);
  });

  test('given the current one is compromised, when switched, then the standby signs at once, whoever is behind', () => {
    const known = facts(realm(), { devicesBehind: () => ({ connected: 9, away: 9 }) });
    expect(states(switchTo(known, 'message-signer', { compromised: true }))).toEqual([
      'message-signer-1 message-signer compromised',
      'message-signer-2 message-signer current',
    ]);
  });

  test('given no standby, when switched, compromised or not, then it is refused', () => {
    const alone = facts(realm(record('message-signer-standby', 'message-signer-2', 'withdrawn', signer(1))));
    for (const compromised of [true, false])
      expect(states(switchTo(alone, 'message-signer', { compromised }))).toEqual(['authority.state-refused']);
  });

  test('given a standby that is next, when switched, then it stands by and the old one is withdrawn', () => {
    const known = facts(realm(record('message-signer-standby', 'message-signer-3', 'next', signer(2))));
    expect(states(switchTo(known, 'message-signer-standby'))).toEqual([
      'message-signer-2 message-signer-standby withdrawn',
      'message-signer-3 message-signer-standby current',
    ]);
  });

  test('given a compromised standby, when switched, then it leaves, with a successor or without', () => {
    const compromised = { compromised: true };
    expect(states(switchTo(facts(realm()), 'message-signer-standby', compromised))).toEqual([
      'message-signer-2 message-signer-standby compromised',
    ]);
    const known = facts(realm(record('message-signer-standby', 'message-signer-3', 'next', signer(2))));
    expect(states(switchTo(known, 'message-signer-standby', compromised))).toEqual([
      'message-signer-2 message-signer-standby compromised',
      'message-signer-3 message-signer-standby current',
    ]);
  });
});

describe('withdrawing', () => {
  const withdraw = (known: AuthorityFacts, keyLabel: string, force = false): AuthorityOutcome =>
    decideWithdrawal(known, { keyLabel, force }, STEP);

  test.each(['previous', 'next', 'prepared'] as const)('given one that is %s, when withdrawn, then it is', (state) => {
    const certificate = state === 'prepared' ? undefined : pki.deviceCa.certificate;
    const known = facts(realm(record('device-ca', 'device-ca-0', state, certificate)));
    expect(states(withdraw(known, 'device-ca-0'))).toEqual(['device-ca-0 device-ca withdrawn']);
  });

  test.each(['current', 'withdrawn', 'compromised'] as const)(
    'given one that is %s, when withdrawn, then it is refused, forced or not',
    (state) => {
      const known = facts(realm(record('device-ca', 'device-ca-0', state, pki.deviceCa.certificate)));
      expect(states(withdraw(known, 'device-ca-0', true))).toEqual(['authority.state-refused']);
    },
  );

  test('given devices with certificates of it, when withdrawn, then it is refused with their number, unless forced, which is on record', () => {
    const previous = record('device-ca', 'device-ca-0', 'previous', pki.deviceCa.certificate);
    const known = facts(realm(previous), { devicesUnder: () => 7 });
    const refused = withdraw(known, 'device-ca-0');
    expect(refused).toMatchObject({ kind: 'refuse', error: { message: expect.stringContaining('7 devices') } });
    const forced = withdraw(known, 'device-ca-0', true);
    expect(forced.audit).toMatchObject([
      { details: { state: 'withdrawn', before: 'previous', devices: 7, force: true } },
    ]);
  });

  test('given something in use below it, when withdrawn, then it is refused, forced or not; once that is gone it is not', () => {
    const root = record('root', 'root', 'previous', pki.root.certificate);
    expect(states(withdraw(facts(realm(root)), 'root', true))).toEqual(['authority.state-refused']);
    const operations = record('operations-ca', 'operations-ca-1', 'previous', pki.operationsCa.certificate);
    expect(states(withdraw(facts(realm(operations)), 'operations-ca-1', true))).toEqual(['authority.state-refused']);
    const signersGone = [
      record('message-signer', 'message-signer-1', 'compromised', signer(0)),
      record('message-signer-standby', 'message-signer-2', 'withdrawn', signer(1)),
    ];
    expect(states(withdraw(facts(realm(operations, ...signersGone)), 'operations-ca-1'))).toEqual([
      'operations-ca-1 operations-ca withdrawn',
    ]);
  });

  test('given a name that nobody has, when withdrawn, then that is what the refusal says', () => {
    expect(states(withdraw(facts(realm()), 'device-ca-9'))).toEqual(['authority.not-found']);
  });
});
