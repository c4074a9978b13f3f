import { describe, expect, test } from 'vitest';
import type { AuditEvent } from '#schema/audit.ts';
import { ROLLOUT_STEPS } from '#schema/rollout-history.ts';
import { ROLLOUT_STATES } from '#gateway/ports/store/records.ts';
import { rolloutEvent } from '#gateway/rollout/decide.ts';
import { stepOf } from '#gateway/rollout/history.ts';
import { approvalId, event, rolloutId, rolloutRecord, sha256 } from '#test/support/store-fixtures.ts';

const ROLLOUT = rolloutRecord({ id: rolloutId(7) });
const ADA = { type: 'operator', id: 'ada' } as const;
const GATEWAY = { type: 'gateway', id: 'rollout' } as const;

const of = (action: string, over: Partial<AuditEvent> = {}): AuditEvent =>
  rolloutEvent(ROLLOUT, action, ADA, { reason: 'sold', devices: 2, named: ['a', 'b'] }, over);

describe('an event about a rollout', () => {
  test('given what a person did, then the step says who, with whose approval, and why', () => {
    const approval = { id: approvalId(1), hash: sha256('asked'), approvers: ['hedy'] };
    expect(stepOf(of('rollout.sign-off', { approval }))).toEqual({
      rollout: ROLLOUT.id,
      step: 'signed-off',
      code: undefined,
      by: 'ada',
      approval: approvalId(1),
      approvedBy: ['hedy'],
      reason: 'sold',
      details: { keySet: 'wallet-kek', from: 1, to: 2, devices: 2, named: ['a', 'b'] },
    });
  });

  test('given what the gateway did by itself, then the step says so, with the code', () => {
    const paused = rolloutEvent(ROLLOUT, 'rollout.pause', GATEWAY, {}, { code: 'rollout.service-lags' });
    expect(stepOf(paused)).toMatchObject({
      step: 'paused',
      by: 'the gateway',
      code: 'rollout.service-lags',
      approval: undefined,
      approvedBy: [],
      reason: undefined,
    });
  });

  test.each(ROLLOUT_STATES.filter((state) => state !== 'approved'))(
    'given that it became %s, then that is the step',
    (state) => {
      expect(stepOf(of(`rollout.${state}`))?.step).toBe(state);
    },
  );

  test.each([
    ['rollout.prepare', 'prepared'],
    ['rollout.wave-opened', 'wave-opened'],
    ['rollout.wave-soaks', 'wave-soaking'],
    ['rollout.pause', 'paused'],
    ['rollout.resume', 'resumed'],
    ['rollout.retry', 'retried'],
    ['rollout.exempt', 'exempted'],
    ['rollout.sign-off', 'signed-off'],
    ['rollout.stragglers', 'stragglers'],
  ])('given %s, then the step is %s', (action, step) => {
    expect(stepOf(of(action))?.step).toBe(step);
    expect(ROLLOUT_STEPS).toContain(step);
  });

  test('given that it was refused or failed, then there is no step: nothing changed', () => {
    expect(stepOf(of('rollout.resume', { outcome: 'denied', code: 'rollout.state-refused' }))).toBeUndefined();
    expect(stepOf(of('rollout.resume', { outcome: 'error', code: 'store.unavailable' }))).toBeUndefined();
  });
});

describe('an event that began a rollout', () => {
  const begun = (action: string, type: string, details: AuditEvent['details']): AuditEvent =>
    event(action, { actor: ADA, object: { type, id: 'wallet-kek' }, ...(details === undefined ? {} : { details }) });

  test.each([
    ['keyset.rotate', 'keyset'],
    ['keyset.compromise', 'keyset'],
    ['trust.publish', 'trust-bundle'],
  ])('given %s that names one, then it is the start of that one', (action, type) => {
    expect(stepOf(begun(action, type, { rollout: ROLLOUT.id, plan: 'careful' }))).toMatchObject({
      rollout: ROLLOUT.id,
      step: 'started',
      by: 'ada',
      details: { plan: 'careful' },
    });
  });

  test('given a campaign, which is one itself, then it is its start', () => {
    expect(stepOf(of('enrolment.campaign'))).toMatchObject({ rollout: ROLLOUT.id, step: 'started', reason: 'sold' });
  });

  test('given one that began none, as the first trust bundle of a realm, then there is no step', () => {
    expect(stepOf(begun('trust.publish', 'trust-bundle', { sha256: sha256('first') }))).toBeUndefined();
    expect(stepOf(begun('keyset.rotate', 'keyset', undefined))).toBeUndefined();
  });
});

test('given an event about something else that names a rollout, then there is no step', () => {
  const about = { object: { type: 'keyset', id: 'wallet-kek' }, details: { rollout: ROLLOUT.id } };
  expect(stepOf(event('keyset.rotation-due', about))).toBeUndefined();
  expect(stepOf(event('device.quarantine', { device: 'egm-1', details: { rollout: ROLLOUT.id } }))).toBeUndefined();
});
