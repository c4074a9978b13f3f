import { describe, expect, test } from 'vitest';
import { createWindows } from '#gateway/rollout/window.ts';
import { decideReport } from '#gateway/delivery/decide-report.ts';
import type { TargetState } from '#gateway/ports/store/records.ts';
import type { Report, ReportedVersion } from '#schema/messages/report.ts';
import { KeySetName, Seq, Serial } from '#schema/ids.ts';
import {
  accepted as acceptedVersion,
  active,
  certificate,
  deliveryOf,
  DELIVERY,
  device,
  held,
  keySet,
  retired,
  rollout,
  rotating,
  sync,
  target,
} from '#test/support/delivery-fixtures.ts';
import {
  deviceId,
  keyVersion,
  reEnrolment,
  report,
  second,
  sha256,
  trust,
  verified,
  version,
  WALLET,
} from '#test/support/store-fixtures.ts';

const versionOf = (
  number: number,
  state: ReportedVersion['state'],
  kcv: string | null = keyVersion(number).kcv,
): ReportedVersion => ({
  version: version(number),
  state,
  kcv: state === 'destroyed' ? null : kcv,
});

/** The device's second report, following the first that the gateway knows. */
function next(versions: readonly ReportedVersion[], over: Partial<Report> = {}): Report {
  return report('EGM-1', 2, {
    previous: sha256('EGM-1 1'),
    trustVersion: trust(1),
    keyrings: [
      {
        keySet: WALLET,
        revision: 7,
        active: versions.find((entry) => entry.state === 'active')?.version ?? null,
        versions: [...versions],
      },
    ],
    ...over,
  });
}

const decide = (state: Parameters<typeof decideReport>[0], of: Report, over: Parameters<typeof verified>[2] = {}) =>
  decideReport(state, verified(of, certificate(), over), DELIVERY, createWindows({}));

describe('one history of reports', () => {
  test('given the next report, when it follows the one before, then it is accepted', () => {
    expect(decide(deliveryOf(), next([versionOf(1, 'active')]))).toMatchObject({ kind: 'accepted', dueAt: undefined });
  });

  test('given the same bytes again, then nothing changes', () => {
    const again = next([versionOf(1, 'active')]);
    expect(decide(deliveryOf({ sync: sync({ counter: 2, digest: sha256('EGM-1 2') }) }), again)).toEqual({
      kind: 'ignored',
      why: 'duplicate',
    });
  });

  test('given a report overtaken by a newer one of the same boot, then nothing changes', () => {
    expect(
      decide(deliveryOf({ sync: sync({ counter: 9, digest: sha256('newer') }) }), next([versionOf(1, 'active')])),
    ).toEqual({ kind: 'ignored', why: 'late' });
  });

  test('given reports lost on the way, then a gap in the counter is no fault', () => {
    expect(
      decide(deliveryOf(), { ...next([versionOf(1, 'active')]), counter: 7, previous: sha256('lost') }),
    ).toMatchObject({ kind: 'accepted' });
  });

  test('given an old counter in a new boot, then the device is quarantined as a restored image', () => {
    const restored = { ...next([versionOf(1, 'active')]), bootId: crypto.randomUUID() };
    expect(decide(deliveryOf({ sync: sync({ counter: 9 }) }), restored)).toMatchObject({
      kind: 'quarantine',
      code: 'report.regressed',
    });
  });

  test('given the next counter on another predecessor, then the device is quarantined as a clone', () => {
    expect(decide(deliveryOf(), { ...next([versionOf(1, 'active')]), previous: sha256('of the twin') })).toMatchObject({
      kind: 'quarantine',
      code: 'report.forked',
    });
  });

  test('given the same counter with other bytes in a known boot, then the device is quarantined as a clone', () => {
    const state = deliveryOf({ sync: sync({ counter: 2, digest: sha256('of the twin') }) });
    expect(decide(state, next([versionOf(1, 'active')]))).toMatchObject({ kind: 'quarantine', code: 'report.forked' });
  });
});

describe('where a device and its twin have spoken from', () => {
  const twin = { ...next([versionOf(1, 'active')]), previous: sha256('of the twin') };

  test('given reports from several addresses, then the quarantine names this one and those before, each once', () => {
    const state = deliveryOf({ sync: sync({ reportedFrom: ['10.0.0.1', '10.0.0.2'], address: '10.0.0.9' }) });
    expect(decide(state, twin, { address: '10.0.0.9' })).toMatchObject({
      kind: 'quarantine',
      audit: [{ source: '10.0.0.9', details: { addresses: ['10.0.0.9', '10.0.0.1', '10.0.0.2'] } }],
    });
  });

  test('given accepted reports, then the latest few addresses are kept', () => {
    const from = (address: string | undefined, before: readonly string[]): unknown => {
      const outcome = decide(deliveryOf({ sync: sync({ reportedFrom: before }) }), next([versionOf(1, 'active')]), {
        address,
      });
      return outcome.kind === 'accepted' ? outcome.reportedFrom : outcome.kind;
    };
    expect(from('d', ['c', 'b', 'd', 'a'])).toEqual(['d', 'c', 'b', 'a']);
    expect(from('e', ['d', 'c', 'b', 'a'])).toEqual(['e', 'd', 'c', 'b']);
    expect(from(undefined, ['a'])).toEqual(['a']);
  });
});

describe('boots of one device', () => {
  const [before, latest] = [crypto.randomUUID(), crypto.randomUUID()];
  const state = deliveryOf({ sync: sync({ boots: [latest, before] }) });
  const from = (bootId: string, counter: number): Report => ({
    ...next([versionOf(1, 'active')]),
    bootId,
    counter,
    previous: sha256(counter === 2 ? 'EGM-1 1' : 'lost'),
  });

  test('given the latest boot or a new one, when it counts on, then it is accepted', () => {
    expect(decide(state, from(latest, 2))).toMatchObject({ kind: 'accepted' });
    expect(decide(state, from(crypto.randomUUID(), 2))).toMatchObject({ kind: 'accepted' });
  });

  test.each([2, 7])('given a boot that ended, when it counts on to %i, then the device has a twin', (counter) => {
    expect(decide(state, from(before, counter))).toMatchObject({ kind: 'quarantine', code: 'report.forked' });
  });
});

describe('what the gateway did not make', () => {
  test('given versions and key sets that do not exist, when a device claims to hold them, then nothing is kept of it', () => {
    const claims = next([versionOf(1, 'active'), versionOf(99, 'stored')]);
    const [ring] = claims.keyrings;
    if (ring === undefined) throw new Error('the report has a keyring');
    const invented = { ...ring, keySet: KeySetName.parse('invented') };
    expect(decide(deliveryOf(), { ...claims, keyrings: [ring, invented] })).toMatchObject({
      kind: 'accepted',
      proofs: [],
    });
  });

  test('given a shared version, when the check value kept for the device is another one, then the own value counts', () => {
    const state = deliveryOf({ versions: [{ ...held(1, 'stored'), kcv: 'ffffffffff' }] });
    const proofs = (kcv: string | null): unknown => {
      const outcome = decide(state, next([versionOf(1, 'active', kcv)]));
      return outcome.kind === 'accepted' ? outcome.proofs.length : outcome.kind;
    };
    expect(proofs('ffffffffff')).toBe(0);
    expect(proofs(keyVersion(1).kcv)).toBe(1);
  });
});

describe('less than it proved before', () => {
  test.each<[string, Partial<Report>]>([
    ['an older trust bundle', { trustVersion: trust(0) }],
    ['an older update', { lastSeq: Seq.parse(4) }],
    ['a key version gone', { keyrings: [] }],
  ])('given %s, then the device is quarantined as a restored image (I5)', (_, over) => {
    const state = deliveryOf({ sync: sync({ lastSeq: 5 }) });
    const fine = { lastSeq: Seq.parse(5) };
    expect(decide(state, next([versionOf(1, 'active')], fine))).toMatchObject({ kind: 'accepted' });
    expect(decide(state, next([versionOf(1, 'active')], { ...fine, ...over }))).toMatchObject({
      kind: 'quarantine',
      code: 'report.regressed',
    });
  });

  test('given a destroyed version that is back, then the device is quarantined', () => {
    const state = deliveryOf({
      versions: [held(1, 'destroyed'), held(2, 'active')],
      keySets: [keySet([retired(1), active(2)])],
    });
    expect(decide(state, next([versionOf(1, 'destroyed'), versionOf(2, 'active')]))).toMatchObject({
      kind: 'accepted',
    });
    expect(decide(state, next([versionOf(1, 'stored'), versionOf(2, 'active')]))).toMatchObject({ kind: 'quarantine' });
  });
});

describe('whose report it is', () => {
  test.each([
    ['a superseded certificate', certificate({ serial: Serial.parse('0b') }), 'certificate.superseded'],
    ['a revoked certificate', certificate({ state: 'revoked' }), 'certificate.revoked'],
    ['the certificate of another device', certificate({ device: deviceId('EGM-2') }), 'message.wrong-device'],
  ])('given %s, then it is refused', (_, signer, code) => {
    expect(decide(deliveryOf(), next([versionOf(1, 'active')]), { certificate: signer })).toMatchObject({
      kind: 'refused',
      code,
    });
  });

  test('given the next identity, then it is accepted', () => {
    const nextSerial = Serial.parse('0b');
    const state = deliveryOf({ device: device({ nextSerial }) });
    expect(
      decide(state, next([versionOf(1, 'active')]), { certificate: certificate({ serial: nextSerial }) }),
    ).toMatchObject({ kind: 'accepted' });
  });

  test.each([{ kind: 'quarantined', code: 'report.forked' } as const, { kind: 'revoked' } as const])(
    'given a device that is $kind, then its reports change nothing (I9)',
    (state) => {
      expect(decide(deliveryOf({ device: device({ state }) }), next([versionOf(1, 'active')]))).toMatchObject({
        kind: 'refused',
        code: state.kind === 'revoked' ? 'certificate.revoked' : 'enrolment.quarantined',
      });
    },
  );
});

describe('what a report proves', () => {
  test('given the version stored, then its target has stored it', () => {
    const outcome = decide(rotating('offered'), next([versionOf(1, 'active'), versionOf(2, 'stored')]));
    expect(outcome).toMatchObject({
      kind: 'accepted',
      proofs: [{ version: 2, state: 'stored' }],
      targets: [{ state: 'stored' }],
      dueAt: undefined,
    });
  });

  test('given the version in use, then its target is active', () => {
    const state = deliveryOf({
      versions: [held(1, 'active'), held(2, 'stored')],
      keySets: [keySet([acceptedVersion(1), active(2)])],
      rollouts: [{ rollout: rollout({ state: 'active' }), target: target('stored') }],
    });
    expect(decide(state, next([versionOf(1, 'stored'), versionOf(2, 'active')]))).toMatchObject({
      kind: 'accepted',
      targets: [{ state: 'active' }],
    });
  });

  test('given a stored version whose activation is deferred, then the target says until when', () => {
    const until = second(500).toISOString();
    const state = rotating('offered', { sync: sync({ seq: 42 }) });
    const busy = next([versionOf(1, 'active'), versionOf(2, 'stored')], {
      results: [{ seq: Seq.parse(42), outcome: 'deferred', code: 'device.busy', until }],
      lastSeq: Seq.parse(42),
    });
    expect(decide(state, busy)).toMatchObject({
      targets: [{ state: 'stored', code: 'device.busy', deferredUntil: second(500) }],
    });
  });

  test('given a key whose check value is wrong, then it proves nothing', () => {
    const outcome = decide(rotating('offered'), next([versionOf(1, 'active'), versionOf(2, 'stored', '0000000000')]));
    expect(outcome).toMatchObject({ kind: 'accepted', proofs: [], targets: [] });
    expect(outcome).toHaveProperty(
      'audit',
      expect.arrayContaining([expect.objectContaining({ code: 'key.kcv-mismatch' })]),
    );
  });

  test('given a refusal, then the target says why, and asking again is not hurried', () => {
    const state = rotating('offered', { sync: sync({ seq: 42 }) });
    const refused = next([versionOf(1, 'active')], {
      results: [{ seq: Seq.parse(42), outcome: 'refused', code: 'envelope.integrity-failed' }],
    });
    const outcome = decide(state, refused);
    expect(outcome).toMatchObject({
      kind: 'accepted',
      targets: [{ state: 'refused', code: 'envelope.integrity-failed' }],
    });
    expect(outcome.kind === 'accepted' && outcome.dueAt !== undefined && outcome.dueAt > second(102)).toBe(true);
  });

  test('given a refusal of an update that was about something else, then a target that is to come stays so', () => {
    const state = rotating('pending', { sync: sync({ seq: 42 }) });
    const refused = next([versionOf(1, 'active')], {
      results: [{ seq: Seq.parse(42), outcome: 'refused', code: 'envelope.integrity-failed' }],
    });
    expect(decide(state, refused)).toMatchObject({ kind: 'accepted', targets: [] });
  });

  test('given refusals from before the last update that it is known to have processed, then only later ones are recorded', () => {
    const result = (seq: number, outcome: 'applied' | 'refused') =>
      ({
        seq: Seq.parse(seq),
        outcome,
        ...(outcome === 'refused' ? { code: 'message.replayed' as const } : {}),
      }) as const;
    const refusals = (lastSeq: number, ...results: Report['results']): unknown => {
      const state = deliveryOf({ sync: sync({ seq: 50, lastSeq }) });
      const outcome = decide(state, next([versionOf(1, 'active')], { lastSeq: Seq.parse(43), results }));
      return outcome.kind === 'accepted' && outcome.audit.map(({ action, details }) => [action, details?.['seq']]);
    };
    const [old, applied, replayed] = [result(41, 'refused'), result(43, 'applied'), result(40, 'refused')];
    expect(refusals(43, old, applied)).toEqual([]);
    expect(refusals(43, old, applied, replayed)).toEqual([['device.refusal', 40]]);
    expect(refusals(39, old, applied)).toEqual([['device.refusal', 41]]);
  });

  test('given that nothing in what came could be believed, then the target stays as it is and tells what the device said', () => {
    const refused = next([versionOf(1, 'active')], {
      results: [{ seq: Seq.parse(0), outcome: 'refused', code: 'message.signature-invalid' }],
    });
    expect(decide(rotating('offered', { sync: sync({ seq: 42 }) }), refused)).toMatchObject({
      targets: [{ state: 'offered', code: 'message.signature-invalid' }],
    });
    expect(decide(rotating('pending', { sync: sync({ seq: 42 }) }), refused)).toMatchObject({ targets: [] });
  });

  test('given a target that was asked before it went away, when it reports for the first time again, then its time begins anew', () => {
    const offered = { rollout: rollout(), target: target('offered', { offeredAt: second(2), attempts: 9 }) };
    const back = rotating('offered', { sync: sync({ lastSeenAt: second(90) }), rollouts: [offered] });
    const there = rotating('offered', { rollouts: [offered] });
    expect(decide(back, next([versionOf(1, 'active')]))).toMatchObject({
      targets: [{ state: 'offered', offeredAt: second(102), attempts: 0 }],
    });
    expect(decide(there, next([versionOf(1, 'active')]))).toMatchObject({ targets: [] });
  });

  test('given a device that slept over the rollout, then its target is superseded', () => {
    const state = deliveryOf({
      keySets: [keySet([retired(1), acceptedVersion(2), active(3)])],
      rollouts: [{ rollout: rollout({ state: 'active' }), target: target('pending') }],
    });
    expect(decide(state, next([versionOf(1, 'active')]))).toMatchObject({ targets: [{ state: 'superseded' }] });
  });

  test('given a device that joined after the rollout began, then it becomes a target', () => {
    const state = rotating('pending', { rollouts: [{ rollout: rollout(), target: undefined }] });
    expect(decide(state, next([versionOf(1, 'active')]))).toMatchObject({ targets: [{ state: 'pending', wave: 0 }] });
  });

  test('given a difference that the report leaves, then the device is due at once', () => {
    expect(decide(rotating('pending'), next([versionOf(1, 'active')]))).toMatchObject({
      kind: 'accepted',
      dueAt: second(102),
    });
  });

  test.each([0, 1])(
    'given a device that comes back and confirms the latest update, when something has changed since and it was tried %i times, then it is due at once',
    (attempts) => {
      const state = rotating('pending', { sync: sync({ seq: 42, attempts }) });
      expect(decide(state, next([versionOf(1, 'active')], { lastSeq: Seq.parse(42) }))).toMatchObject({
        kind: 'accepted',
        dueAt: second(102),
        attempts,
      });
    },
  );

  test.each<[string, Partial<Report>]>([
    ['an older update', { lastSeq: Seq.parse(41) }],
    ['a trust link sent before it', { lastSeq: Seq.parse(40), trustVersion: trust(2) }],
    [
      'an older update by refusing it',
      { lastSeq: Seq.parse(40), results: [{ seq: Seq.parse(41), outcome: 'refused', code: 'message.expired' }] },
    ],
  ])('given an update under way, when a report answers %s, then its own answer is waited for', (_, over) => {
    const awaited = { seq: 42, lastSeq: 40, attempts: 1, dueAt: second(110) };
    const state = rotating('offered', { sync: sync(awaited), trustReleased: trust(3) });
    expect(decide(state, next([versionOf(1, 'active')], over))).toMatchObject({ dueAt: second(110), attempts: 1 });
    const reconnected = rotating('offered', {
      sync: sync({ ...awaited, lastSeenAt: second(50) }),
      trustReleased: trust(3),
    });
    expect(
      decide(reconnected, next([versionOf(1, 'active')], over)),
      'not over a connection that has ended',
    ).toMatchObject({ dueAt: second(102) });
  });

  test('given a device that confirms every update and never holds what it should, then asking again is not hurried', () => {
    const state = rotating('offered', { sync: sync({ seq: 42, attempts: 2 }) });
    const outcome = decide(state, next([versionOf(1, 'active')], { lastSeq: Seq.parse(42) }));
    expect(outcome.kind === 'accepted' && outcome.dueAt !== undefined && outcome.dueAt > second(102)).toBe(true);
    expect(outcome).toMatchObject({ attempts: 2 });
  });

  test('given a device asked often and in vain, when it reports after a restart, then it is answered at once and learns the time', () => {
    const state = rotating('offered', { sync: sync({ seq: 42, lastSeq: 42, attempts: 9 }) });
    const untimed = { lastSeq: Seq.parse(42), clock: { now: second(100).toISOString(), trusted: false } };
    const goesOn = decide(state, next([versionOf(1, 'active')], untimed), { receivedAt: second(100) });
    expect(goesOn).toMatchObject({ kind: 'accepted', attempts: 9 });
    const restarted = next([versionOf(1, 'active')], { ...untimed, bootId: crypto.randomUUID() });
    expect(decide(state, restarted, { receivedAt: second(100) })).toMatchObject({ dueAt: second(100), attempts: 0 });
  });
});

describe('a re-enrolment', () => {
  const campaign = (reason: 'policy' | 'compromise') =>
    reEnrolment({ campaign: { reason, selector: {}, issuer: undefined, before: second(50) }, state: 'distributing' });
  const asked = (reason: 'policy' | 'compromise', of: TargetState) =>
    deliveryOf({ rollouts: [{ rollout: campaign(reason), target: target(of) }] });

  test('given a report under a certificate from before, then nothing has moved', () => {
    expect(decide(asked('policy', 'offered'), next([versionOf(1, 'active')]))).toMatchObject({
      targets: [],
      exposed: [],
    });
  });

  test('given a report under a newer certificate, then the target is done; only leaked keys have the old ones revoked', () => {
    const renewed = certificate({ createdAt: second(60) });
    const under = (reason: 'policy' | 'compromise') =>
      decideReport(
        asked(reason, 'stored'),
        verified(next([versionOf(1, 'active')]), renewed),
        DELIVERY,
        createWindows({}),
      );
    expect(under('policy')).toMatchObject({ targets: [{ state: 'active' }], exposed: [] });
    expect(under('compromise')).toMatchObject({
      targets: [{ state: 'active' }],
      exposed: [{ reason: 'compromise' }],
      audit: [{ action: 'certificate.revoke', details: { reason: 'keyCompromise' } }],
    });
  });
});
