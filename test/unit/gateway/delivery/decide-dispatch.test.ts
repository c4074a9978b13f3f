import { describe, expect, test } from 'vitest';
import { decideDispatch } from '#gateway/delivery/decide-dispatch.ts';
import { resendDelay, spreadOf } from '#gateway/delivery/backoff.ts';
import {
  certificate,
  deliveryOf,
  DELIVERY,
  device,
  held,
  rotating,
  sync,
  target,
  rollout,
} from '#test/support/delivery-fixtures.ts';
import { second, trust } from '#test/support/store-fixtures.ts';

const NOW = second(1_000);
const dispatch = (state: Parameters<typeof decideDispatch>[0]) => decideDispatch(state, NOW, DELIVERY);

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
    expect(decideDispatch(state, second(51), DELIVERY)).toEqual({
      kind: 'settle',
      dueAt: until,
      attempts: 0,
      targets: [],
    });
    expect(decideDispatch(state, until, DELIVERY)).toMatchObject({ kind: 'send' });
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
    expect(dispatch(deliveryOf({ trustLatest: trust(4) }))).toMatchObject({
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

  test('given a connected target that stays silent too long, then it is stalled, and still served', () => {
    const silent = rotating('offered', {
      versions: [held(1, 'active'), held(2, 'offered')],
      rollouts: [{ rollout: rollout(), target: target('offered', { offeredAt: second(0) }) }],
    });
    expect(dispatch(silent)).toMatchObject({
      kind: 'send',
      update: { keyrings: [{ deliver: [2] }] },
      targets: [{ state: 'stalled', code: 'network.timeout' }],
    });
  });
});
