import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ALERT_RULES, alertOf } from '#gateway/audit/alerts.ts';
import { AuditEvent } from '#schema/audit.ts';
import { ERROR_CATALOGUE } from '#schema/errors.ts';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import { noticeOf } from '#gateway/keys/rotation-keeper.ts';
import { event, second } from '#test/support/store-fixtures.ts';

const device = { type: 'device', id: 'egm-1' } as const;
const gateway = { type: 'gateway', id: 'rollout' } as const;
const grace = { type: 'operator', id: 'grace' } as const;
const ROLLOUT = { type: 'rollout', id: '00000000-0000-4000-8000-000000000001' };
const KEY_SET = { type: 'keyset', id: 'wallet-kek' };

const report = (code: string, over: Partial<AuditEvent> = {}): AuditEvent =>
  event('device.report', { outcome: 'error', code, actor: device, device: 'egm-1', ...over });
const denied = (action: string, over: Partial<AuditEvent> = {}): AuditEvent =>
  event(action, { outcome: 'denied', code: 'certificate.revoked', actor: device, device: 'egm-1', ...over });
const connect = (act: string): AuditEvent =>
  denied('broker.deny', {
    actor: { type: 'anonymous', id: '10.0.0.9' },
    device: undefined,
    source: '10.0.0.9',
    details: { act, clientId: 'egm-1' },
  });
const paused = (code: string): AuditEvent =>
  event('rollout.pause', { code, actor: gateway, object: ROLLOUT, details: { keySet: 'wallet-kek', reason: 'why' } });

describe('what alarms', () => {
  test.each<readonly [string, AuditEvent, string, string]>([
    [
      'a clone, quarantined by the gateway',
      event('device.quarantine', { code: 'report.forked', actor: device, device: 'egm-1' }),
      'report.forked egm-1',
      'critical',
    ],
    [
      'a restored image',
      event('device.quarantine', { code: 'report.regressed', actor: device, device: 'egm-1' }),
      'report.regressed egm-1',
      'critical',
    ],
    ['a wrong check value', report('key.kcv-mismatch'), 'key.kcv-mismatch egm-1', 'critical'],
    ['a version never sent', report('report.version-unexpected'), 'report.version-unexpected egm-1', 'critical'],
    [
      'a version that the gateway lost, whichever device holds it',
      report('keyset.version-lost', { details: { keySet: 'wallet-kek' } }),
      'keyset.version-lost wallet-kek',
      'critical',
    ],
    ['a restored gateway, whichever device says so', report('report.ahead'), 'report.ahead', 'warning'],
    [
      'a compromised key',
      event('keyset.compromise', { actor: grace, object: KEY_SET }),
      'keyset.compromised wallet-kek',
      'critical',
    ],
    [
      'a broken trail',
      event('audit.checkpoint', { outcome: 'error', code: 'audit.broken' }),
      'audit.broken',
      'critical',
    ],
    ['errors of a rollout', paused('rollout.errors-exceeded'), `rollout.errors-exceeded ${ROLLOUT.id}`, 'warning'],
    ['a service that lags', paused('rollout.service-lags'), `rollout.service-lags ${ROLLOUT.id}`, 'warning'],
    [
      'stragglers',
      event('rollout.stragglers', { code: 'rollout.stragglers', actor: gateway, object: ROLLOUT }),
      `rollout.stragglers ${ROLLOUT.id}`,
      'warning',
    ],
    [
      'a rotation overdue',
      event('keyset.rotation-overdue', { code: 'keyset.rotation-overdue', object: KEY_SET }),
      'keyset.rotation-overdue wallet-kek',
      'warning',
    ],
    [
      'a rotation due',
      event('keyset.rotation-due', { code: 'keyset.rotation-due', object: KEY_SET }),
      'keyset.rotation-due wallet-kek',
      'info',
    ],
    [
      'a device beyond its grace',
      event('enrolment.simplereenroll', {
        code: 'enrolment.parked',
        actor: device,
        device: 'egm-1',
        details: { reason: 'certificate.expired' },
      }),
      'enrolment.parked egm-1',
      'warning',
    ],
    ['a revoked device that reports', denied('report.refuse'), 'certificate.revoked egm-1', 'warning'],
    ['a revoked device that connects', connect('connect'), 'certificate.revoked egm-1', 'warning'],
    ['a revoked device that enrols', denied('enrolment.simplereenroll'), 'certificate.revoked egm-1', 'warning'],
    [
      'a webhook that failed',
      event('webhook.failed', { outcome: 'error', code: 'webhook.failed', object: { type: 'webhook', id: 'chat' } }),
      'webhook.failed chat',
      'warning',
    ],
  ])('given %s, then it is one trouble of its subject, with its severity', (_, what, subject, severity) => {
    expect(alertOf(AuditEvent.parse(what))).toMatchObject({ subject, severity });
  });

  test.each<readonly [string, AuditEvent]>([
    ['a device that a person quarantined', event('device.quarantine', { actor: grace, device: 'egm-1' })],
    [
      'a quarantine that was refused',
      event('device.quarantine', { outcome: 'denied', code: 'device.not-found', actor: device, device: 'egm-1' }),
    ],
    ['an ordinary report', event('device.report', { actor: device, device: 'egm-1' })],
    ['a report refused for something else', denied('report.refuse', { code: 'message.replayed' })],
    [
      'a rollout that a person paused',
      event('rollout.pause', { code: 'rollout.halted', actor: grace, object: ROLLOUT }),
    ],
    [
      'a compromise that was refused',
      event('keyset.compromise', { outcome: 'denied', code: 'operator.forbidden', actor: grace, object: KEY_SET }),
    ],
    [
      'a request parked without a certificate',
      event('enrolment.simpleenroll', { code: 'enrolment.parked', details: { request: 'r' } }),
    ],
    ['a checkpoint that waits for the HSM', event('audit.checkpoint', { outcome: 'error', code: 'hsm.unavailable' })],
    ['an action that nobody knows', event('something.else', { code: 'report.forked' })],
  ])('given %s, then it does not', (_, what) => {
    expect(alertOf(AuditEvent.parse(what))).toBeUndefined();
  });

  test('given a client id that no certificate vouches for, then no device is named', () => {
    expect(alertOf(connect('handshake'))).toMatchObject({ device: undefined, subject: 'certificate.revoked' });
  });
});

describe('what an alert tells', () => {
  test('given a clone, then the addresses that its reports came from', () => {
    const alert = alertOf(
      event('device.quarantine', {
        code: 'report.forked',
        actor: device,
        device: 'egm-1',
        source: '10.0.0.9',
        details: { counter: 7, addresses: ['10.0.0.7', '10.0.0.9'] },
      }),
    );
    expect(alert).toEqual({
      subject: 'report.forked egm-1',
      code: 'report.forked',
      severity: 'critical',
      device: 'egm-1',
      rollout: undefined,
      keySet: undefined,
      message: `egm-1: ${ERROR_CATALOGUE['report.forked'].summary} (addresses 10.0.0.7, 10.0.0.9; from 10.0.0.9)`,
    });
  });

  test('given a rollout, then itself, its key set and the reason', () => {
    expect(alertOf(paused('rollout.service-lags'))).toMatchObject({
      rollout: ROLLOUT.id,
      keySet: 'wallet-kek',
      message: `rollout ${ROLLOUT.id}: ${ERROR_CATALOGUE['rollout.service-lags'].summary} (keySet wallet-kek; reason why)`,
    });
  });

  test('given what the gateway itself says of cryptoperiods, then which version, and until when', () => {
    const standing = {
      keySet: KeySetName.parse('wallet-kek'),
      version: KeyVersionNumber.parse(4),
      dueAt: second(0),
      endsAt: second(60),
      start: 'manual',
      plan: 'default',
    } as const;
    const overdue = noticeOf({ ...standing, state: 'overdue' });
    expect(overdue === undefined ? undefined : alertOf(overdue)).toMatchObject({
      code: 'keyset.rotation-overdue',
      keySet: 'wallet-kek',
      message: `wallet-kek: ${ERROR_CATALOGUE['keyset.rotation-overdue'].summary} (version 4; endsAt ${second(60).toISOString()})`,
    });
  });

  test('given details without end, then the message has one', () => {
    const versions = Array.from({ length: 1_000 }, (_, number) => `wallet-kek/${number}`);
    const alert = alertOf(report('key.kcv-mismatch', { details: { versions } }));
    expect(alert?.message.length).toBeLessThanOrEqual(400);
    expect(alert?.message.startsWith('egm-1: ')).toBe(true);
  });
});

test('docs/alerts.md has a row for every rule, with its severity, and no other', () => {
  const guide = readFileSync(new URL('../../../../docs/alerts.md', import.meta.url), 'utf8');
  const documented = [...guide.matchAll(/^\| `([a-z.-]+)`[^|]*\| (critical|warning|info) \|/gm)].map(
    ([, code, severity]) => `${code} ${severity}`,
  );
  const codes = ALERT_RULES.flatMap(({ code, severity }) =>
    (code === 'any' ? ['report.forked', 'report.regressed'] : [code]).map((one) => `${one} ${severity}`),
  );
  expect(new Set(documented)).toEqual(new Set(codes));
});
