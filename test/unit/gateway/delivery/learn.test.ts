import { describe, expect, test } from 'vitest';
import { decideReport } from '#gateway/delivery/decide-report.ts';
import { decideDispatch } from '#gateway/delivery/decide-dispatch.ts';
import { isLost, learnFrom, LOST_KEK } from '#gateway/delivery/learn.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import { KeySetName, Seq } from '#schema/ids.ts';
import type { Report, ReportedVersion } from '#schema/messages/report.ts';
import {
  active,
  certificate,
  DELIVERY,
  deliveryOf,
  destroyed,
  held,
  keySet,
  pending,
  rotating,
  sync,
} from '#test/support/delivery-fixtures.ts';
import { keyVersion, report, second, trust, verified, version, WALLET } from '#test/support/store-fixtures.ts';

const NOW = second(500);
const OURS = 100;
const LATER = 900;

const kcvOf = (number: number): string => number.toString(16).padStart(10, '0');

const shown = (number: number, state: ReportedVersion['state'], kcv = kcvOf(number)): ReportedVersion => ({
  version: version(number),
  state,
  kcv,
});

/** A report of a device that has processed update `lastSeq`. */
function told(versions: readonly ReportedVersion[], lastSeq: number, over: Partial<Report> = {}): Report {
  return report('EGM-1', 9, {
    trustVersion: trust(1),
    lastSeq: Seq.parse(lastSeq),
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

/** The database ends with update 100; whatever is later was forgotten. */
const restored = (over: Partial<DeliveryState> = {}): DeliveryState =>
  deliveryOf({
    sync: sync({ seq: OURS, lastSeq: OURS }),
    memory: { sent: (seq) => seq <= OURS, published: (number) => number <= 1 },
    ...over,
  });

const numbers = (state: DeliveryState, of: Report): readonly number[] =>
  learnFrom(state, of, NOW).versions.map((one) => one.version);
const codes = (state: DeliveryState, of: Report): readonly string[] =>
  learnFrom(state, of, NOW).events.map(({ code }) => code);

describe('versions that the gateway does not know', () => {
  const moved = [shown(1, 'stored'), shown(2, 'stored'), shown(3, 'active')];

  test('given a device that has processed an update we have no record of, then they are learned without bytes', () => {
    const { versions, events } = learnFrom(restored(), told(moved, LATER), NOW);
    expect(versions).toMatchObject([
      { version: 2, state: 'deactivated', retiredAt: undefined, wrapped: undefined, kek: LOST_KEK },
      { version: 3, kcv: keyVersion(3).kcv },
    ]);
    expect(versions.every(isLost)).toBe(true);
    expect(events).toMatchObject([
      { code: 'report.ahead', details: { lastSeq: LATER, seq: OURS } },
      { code: 'keyset.version-lost', details: { keySet: WALLET, versions: ['wallet-kek/2', 'wallet-kek/3'] } },
    ]);
  });

  test('given an update that we did send, though later ones are out, then they are no memory of ours', () => {
    const state = restored({
      sync: sync({ seq: 2_000, lastSeq: OURS }),
      memory: { sent: () => true, published: () => true },
    });
    expect(numbers(state, told(moved, LATER))).toEqual([]);
    expect(codes(state, told(moved, LATER))).toEqual(['report.version-unexpected']);
  });

  test('given the restored gateway has sent an update meanwhile, then the record of updates still proves what it forgot', () => {
    const state = restored({ sync: sync({ seq: 5_000, lastSeq: OURS }) });
    expect(numbers(state, told(moved, LATER))).toEqual([2, 3]);
  });

  test('given no proof, then they are told once for as long as they stay the same, and count as no proof', () => {
    const outcome = decideReport(restored(), verified(told(moved, OURS), certificate()), DELIVERY, createWindows({}));
    expect(outcome).toMatchObject({
      kind: 'accepted',
      proofs: [{ version: 1 }],
      unexpected: 'wallet-kek/2, wallet-kek/3',
      learned: { versions: [] },
    });
    const again = restored({ sync: sync({ seq: OURS, lastSeq: OURS, unexpected: 'wallet-kek/2, wallet-kek/3' }) });
    expect(codes(again, told(moved, OURS))).toEqual([]);
    expect(codes(again, told([...moved, shown(4, 'stored')], OURS))).toEqual(['report.version-unexpected']);
  });

  test('given a version that exists and was never offered to this device, then it is told, and held if its value is right', () => {
    const state = restored({ keySets: [keySet([active(1), pending(2)])] });
    const outcome = (kcv?: string) =>
      decideReport(
        state,
        verified(told([shown(1, 'active'), shown(2, 'stored', kcv)], OURS), certificate()),
        DELIVERY,
        createWindows({}),
      );
    expect(outcome()).toMatchObject({ proofs: [{ version: 2, state: 'stored' }], unexpected: 'wallet-kek/2' });
    expect(outcome('ffffffffff')).toMatchObject({ proofs: [], unexpected: 'wallet-kek/2' });
    const offered = { ...state, versions: [held(1, 'active'), held(2, 'offered')] };
    expect(codes(offered, told([shown(1, 'active'), shown(2, 'stored')], OURS))).toEqual([]);
  });

  test('given a destroyed version that an old image brings back after a re-baseline, then it is destroyed, not accused', () => {
    const state = restored({ keySets: [keySet([destroyed(1), active(2)])], versions: [held(2, 'active')] });
    expect(codes(state, told([shown(1, 'stored'), shown(2, 'active')], OURS))).toEqual([]);
  });

  test('given numbers that nobody can have given out, or too many, then they are not believed', () => {
    const many = Array.from({ length: 80 }, (_, index) => shown(index + 2, 'retired'));
    expect(numbers(restored(), told([shown(1, 'active'), ...many], LATER))).toHaveLength(64);
    expect(numbers(restored(), told([shown(1, 'active'), shown(10_001, 'stored')], LATER))).toEqual([10_001]);
    expect(numbers(restored(), told([shown(1, 'active'), shown(10_002, 'stored')], LATER))).toEqual([]);
    const lost = (number: number) => keyVersion(number, { state: 'deactivated', wrapped: undefined, kek: LOST_KEK });
    const learned = Array.from({ length: 256 }, (_, index) => lost(index + 2));
    const full = restored({ keySets: [keySet([active(1), ...learned])] });
    expect(
      numbers(full, told([shown(1, 'active'), shown(300, 'stored')], LATER)),
      'what devices claim ends somewhere',
    ).toEqual([]);
    expect(
      numbers(
        restored({ keySets: [keySet([active(1), lost(9_000)])] }),
        told([shown(1, 'active'), shown(10_002, 'stored')], LATER),
      ),
      'learned numbers carry no further',
    ).toEqual([]);
  });

  test('given a key set that was made after the backup, then its versions are told as lost, once', () => {
    const ring = { keySet: KeySetName.parse('newer'), revision: 3, active: version(1), versions: [shown(1, 'active')] };
    const of = told([shown(1, 'active')], LATER);
    const { versions, events, unexpected } = learnFrom(restored(), { ...of, keyrings: [...of.keyrings, ring] }, NOW);
    expect([versions, unexpected]).toEqual([[], 'newer/1']);
    expect(events.map(({ code }) => code)).toEqual(['report.ahead', 'keyset.version-lost']);
    const settled = restored({ sync: sync({ seq: OURS, lastSeq: LATER, unexpected: 'newer/1' }) });
    expect(codes(settled, { ...of, keyrings: [...of.keyrings, ring] })).toEqual([]);
  });
});

describe('revisions and trust bundles beyond ours', () => {
  const at = (revision: number): Report => {
    const of = told([shown(1, 'active')], OURS);
    return { ...of, keyrings: of.keyrings.map((ring) => ({ ...ring, revision })) };
  };

  test('given a higher revision, then ours is to rise above it; one beyond any clock is only told', () => {
    const day = 86_400_000;
    expect(learnFrom(restored(), at(8), NOW).revisions).toEqual([{ keySet: WALLET, above: 8 }]);
    expect(learnFrom(restored(), at(7), NOW).revisions).toEqual([]);
    expect(learnFrom(restored(), at(NOW.getTime() + 399 * day), NOW).revisions).toHaveLength(1);
    const absurd = at(NOW.getTime() + 401 * day);
    expect(learnFrom(restored(), absurd, NOW).revisions).toEqual([]);
    expect(codes(restored(), absurd)).toEqual(['report.version-unexpected']);
  });

  test('given a trust bundle that we do not have, then it is told once, and the device still gets its keys', () => {
    const of = { ...told([shown(1, 'active')], OURS), trustVersion: trust(3) };
    expect(codes(restored(), of)).toEqual(['report.ahead']);
    const ahead = sync({ seq: OURS, lastSeq: OURS, trustVersion: trust(3), lastSeenAt: second(0) });
    expect(codes(restored({ sync: ahead }), of)).toEqual([]);
    const state = rotating('pending', { sync: ahead });
    const moment = { now: NOW, windows: createWindows({}) };
    expect(decideDispatch(state, moment, DELIVERY)).toMatchObject({
      kind: 'send',
      update: { trustVersion: 1, trustFrom: 3, keyrings: [{ deliver: [2] }] },
    });
  });
});

describe('a device that has gone on while the gateway forgot', () => {
  test('given a version that it has destroyed since, then it has lost nothing; without the proof its storage went back', () => {
    const state = restored();
    const decide = (lastSeq: number) =>
      decideReport(state, verified(told([shown(3, 'active')], lastSeq), certificate()), DELIVERY, createWindows({}));
    expect(decide(LATER)).toMatchObject({
      kind: 'accepted',
      proofs: [
        { version: 3, state: 'active' },
        { version: 1, state: 'destroyed' },
      ],
      dueAt: undefined,
    });
    expect(decide(OURS)).toMatchObject({ kind: 'quarantine', code: 'report.regressed' });
  });

  test('given two devices with different values of a version that only they hold, then both hold it, and it is told', () => {
    const lost = keyVersion(2, { state: 'deactivated', wrapped: undefined, kek: LOST_KEK });
    const state = restored({ keySets: [keySet([active(1), lost])] });
    const of = told([shown(1, 'stored'), shown(2, 'active', 'ffffffffff')], LATER);
    expect(decideReport(state, verified(of, certificate()), DELIVERY, createWindows({}))).toMatchObject({
      proofs: [{ version: 1 }, { version: 2, state: 'active', kcv: 'ffffffffff' }],
      audit: [{ code: undefined }, { code: 'key.kcv-mismatch' }, { code: 'report.ahead' }].map(({ code }) =>
        code === undefined ? {} : { code },
      ),
    });
  });

  test('given a rollout of a version that it is beyond, then that is over for it', () => {
    const state = rotating('offered', {
      sync: sync({ seq: OURS, lastSeq: OURS }),
      memory: { sent: (seq) => seq <= OURS, published: () => true },
    });
    const outcome = decideReport(
      state,
      verified(told([shown(3, 'active')], LATER), certificate()),
      DELIVERY,
      createWindows({}),
    );
    expect(outcome).toMatchObject({ kind: 'accepted', targets: [{ state: 'superseded' }], dueAt: undefined });
  });
});
