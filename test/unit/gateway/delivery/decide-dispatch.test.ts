import { describe, expect, test } from 'vitest';
import { decideDispatch } from '#gateway/delivery/decide-dispatch.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { resendDelay, spreadOf } from '#gateway/delivery/backoff.ts';
import type { RolloutTarget } from '#gateway/ports/store/records.ts';
import {
  accepted,
  active,
  certificate,
  deliveryOf,
  DELIVERY,
  device,
  held,
  keySet,
  rotating,
  sync,
  target,
  rollout,
} from '#test/support/delivery-fixtures.ts';
import { second, trust } from '#test/support/store-fixtures.ts';

const NOW = second(1_000);
const windows = createWindows({});
const dispatch = (state: Parameters<typeof decideDispatch>[0], now = NOW) =>
  decideDispatch(state, { now, windows }, DELIVERY);

describe('who gets an update', () => {
  test('given nothing differs, then nothing is sent', () => {
    expect(dispatch(deliveryOf())).toEqual({ kind: 'settle', dueAt: undefined, attempts: 0, targets: [] });
  });

  test('given a difference, then one update closes it and the target is offered', () => {
    expect(dispatch(rotating('pending'))).toMatchObject({
      kind: 'send',
      update: { keyrings: [{ deliver: [2] }], nonce: 'nonce-of-the-last-report' },
      targets: [{ state: 'offered' }],
    });
  });

  test.each([
    ['quarantined', device({ state: { kind: 'quarantined', code: 'report.forked' } })],
    ['revoked', device({ state: { kind: 'revoked' } })],
    ['not enrolled', device({ state: { kind: 'registered' } })],
  ])('given a device that is %s, then it gets nothing (I9)', (_, record) => {
    expect(dispatch(rotating('pending', { device: record }))).toMatchObject({ kind: 'settle', dueAt: undefined });
  });

  test.each([
    ['no certificate', { identity: undefined }],
    ['a revoked certificate', { identity: certificate({ state: 'revoked' }) }],
    ['no connection', { sync: sync({ connected: false }) }],
    ['no report yet', { sync: sync({ nonce: undefined }) }],
  ])('given a device with %s, then it gets nothing', (_, over) => {
    expect(dispatch(rotating('pending', over))).toMatchObject({ kind: 'settle' });
  });

  test('given a device that has just connected, then its report is waited for, but not for ever', () => {
    const state = rotating('pending', { sync: sync({ lastReportAt: second(1), lastSeenAt: second(50) }) });
    const until = new Date(second(50).getTime() + DELIVERY.resendAfter);
    expect(dispatch(state, second(51))).toEqual({
      kind: 'settle',
      dueAt: until,
      attempts: 0,
      targets: [],
    });
    expect(dispatch(state, until)).toMatchObject({ kind: 'send' });
  });

  test('given a device without trusted time, then its nonce is answered once', () => {
    const asking = deliveryOf({ sync: sync({ clockTrusted: false }) });
    expect(dispatch(asking)).toMatchObject({
      kind: 'send',
      update: { nonce: 'nonce-of-the-last-report', keyrings: [] },
    });
    expect(dispatch(deliveryOf({ sync: sync({ clockTrusted: false, nonceAnswered: true }) }))).toMatchObject({
      kind: 'settle',
    });
  });

  test('given trust bundles that the device missed, then it is told to walk to the latest', () => {
    expect(dispatch(deliveryOf({ trustReleased: trust(4) }))).toMatchObject({
      kind: 'send',
      update: { trustFrom: 1, trustVersion: 4 },
    });
  });

  test('given a certificate near its end, then the update asks for a renewal', () => {
    const ending = certificate({ notBefore: second(0), notAfter: second(1_050) });
    expect(dispatch(deliveryOf({ identity: ending }))).toMatchObject({
      kind: 'send',
      update: { renew: { reason: 'expiring' } },
    });
  });
});

describe('sequence numbers', () => {
  test('given any history, then seq is at least the clock in milliseconds', () => {
    expect(dispatch(rotating('pending'))).toMatchObject({ update: { seq: NOW.getTime() } });
  });

  test.each([
    ['sent', sync({ seq: NOW.getTime() + 50 })],
    ['seen by the device, though the gateway was restored from a backup', sync({ lastSeq: NOW.getTime() + 50 })],
  ])('given a higher seq %s, then the next one is higher still', (_, record) => {
    expect(dispatch(rotating('pending', { sync: record }))).toMatchObject({ update: { seq: NOW.getTime() + 51 } });
  });
});

describe('repetition', () => {
  test('given silence, then the update is repeated ever more slowly, up to a limit', () => {
    const waits = [0, 1, 2, 20].map((attempts) => {
      const outcome = dispatch(rotating('offered', { sync: sync({ attempts }) }));
      return outcome.kind === 'send' && outcome.dueAt !== undefined ? outcome.dueAt.getTime() - NOW.getTime() : 0;
    });
    const [first = 0, second_ = 0, third = 0, last = 0] = waits;
    expect(first).toBeGreaterThanOrEqual(DELIVERY.resendAfter / 2);
    expect(second_).toBeGreaterThanOrEqual(DELIVERY.resendAfter);
    expect(third).toBeGreaterThanOrEqual(DELIVERY.resendAfter * 2);
    expect(last).toBeLessThanOrEqual(DELIVERY.resendMax);
  });

  test('given many devices, then their repetitions are spread over the upper half', () => {
    const delays = Array.from({ length: 200 }, (_, index) =>
      resendDelay(0, { resendAfter: 1_000, resendMax: 9_000 }, spreadOf(`EGM-${index}`, 1)),
    );
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(500);
    expect(Math.max(...delays)).toBeLessThanOrEqual(1_000);
    expect(new Set(delays).size).toBeGreaterThan(100);
  });

  const asked = (over: Partial<RolloutTarget>, of: Parameters<typeof rollout>[0] = {}, now = NOW) => {
    const outcome = dispatch(
      rotating('offered', {
        sync: sync({ lastSeenAt: second(0), lastReportAt: second(1) }),
        versions: [held(1, 'active'), held(2, 'offered')],
        rollouts: [{ rollout: rollout(of), target: target('offered', { offeredAt: second(0), ...over }) }],
      }),
      now,
    );
    expect(outcome).toMatchObject({ kind: 'send', update: { keyrings: [{ deliver: [2] }] } });
    return outcome.targets[0];
  };

  test('given a connected target that stays silent too long and too often, then it is stalled, and still served', () => {
    expect(asked({ attempts: 4 }, {}, second(700))).toMatchObject({ state: 'stalled', code: 'network.timeout' });
  });

  test('given one that was silent for long but not asked often enough, or often in a short time, then it is not', () => {
    expect(asked({ attempts: 3 }, {}, second(700))).toMatchObject({ state: 'offered', attempts: 4 });
    expect(asked({ attempts: 9 }, {}, second(500))).toMatchObject({ state: 'offered', attempts: 10 });
  });

  test('given one at the end of its path, then what is sent for something else leaves it as it is', () => {
    expect(asked({ state: 'old-retired', attempts: 1 })).toMatchObject({ state: 'old-retired', attempts: 2 });
    expect(asked({ state: 'old-destroyed', attempts: 1 })).toBeUndefined();
  });
});

describe('a target that stores and never activates', () => {
  const told = (over: Partial<RolloutTarget>, now = second(700)) =>
    dispatch(
      deliveryOf({
        sync: sync({ lastSeenAt: second(0), lastReportAt: second(1) }),
        keySets: [keySet([accepted(1), active(2)])],
        versions: [held(1, 'active'), held(2, 'stored')],
        rollouts: [
          {
            rollout: rollout({ state: 'active', activatedAt: second(10) }),
            target: target('stored', { attempts: 4, ...over }),
          },
        ],
      }),
      now,
    ).targets[0];

  test('given that it was told often enough, then it is overdue, which everybody can see', () => {
    expect(told({})).toMatchObject({ state: 'overdue', code: 'rollout.activation-overdue' });
  });

  test('given that it is busy, or was told just now, then it is not', () => {
    expect(told({ deferredUntil: second(900) })).toMatchObject({ state: 'stored', attempts: 5 });
    expect(told({}, second(300))).toMatchObject({ state: 'stored' });
  });
});

describe('a device that came after the rollout had begun', () => {
  test('given a version that it is sent, then it becomes a target', () => {
    const late = rotating('pending', { rollouts: [{ rollout: rollout(), target: undefined }] });
    expect(dispatch(late).targets).toMatchObject([{ state: 'offered', wave: 0, offeredAt: NOW, attempts: 1 }]);
  });
});
