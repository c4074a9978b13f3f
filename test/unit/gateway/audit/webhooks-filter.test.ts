import { describe, expect, test } from 'vitest';
import { CHAIN_START, nextRecord } from '#gateway/audit/chain.ts';
import { webhookFilter, webhookPayload } from '#gateway/audit/webhooks-filter.ts';
import type { AuditEvent, AuditRecord } from '#schema/audit.ts';
import { event, REALM, second } from '#test/support/store-fixtures.ts';

const record = (action: string, over: Partial<AuditEvent> = {}): AuditRecord =>
  nextRecord(CHAIN_START, event(action, over), second(1), '01890000-0000-7000-8000-000000000001', REALM);

const QUARANTINE = record('device.quarantine', {
  code: 'report.forked',
  actor: { type: 'device', id: 'egm-1' },
  device: 'egm-1',
});
const BY_HAND = record('device.quarantine', { actor: { type: 'operator', id: 'grace' }, device: 'egm-1' });
const PAUSE = record('rollout.pause', { code: 'rollout.service-lags', object: { type: 'rollout', id: 'r-1' } });
const failed = (webhook: string): AuditRecord =>
  record('webhook.failed', { outcome: 'error', code: 'webhook.failed', object: { type: 'webhook', id: webhook } });

describe('which records a webhook is told of', () => {
  test.each<readonly [string, string, AuditRecord, boolean]>([
    ['the action itself', 'rollout.pause', PAUSE, true],
    ['another action', 'rollout.resume', PAUSE, false],
    ['the beginning of the action without a star', 'rollout', PAUSE, false],
    ['a star for the rest', 'rollout.*', PAUSE, true],
    ['a star for the beginning', '*.pause', PAUSE, true],
    ['a star within', 'roll*pause', PAUSE, true],
    ['a star alone', '*', PAUSE, true],
    ['a dot, which stands for itself', 'rollout.pause', record('rolloutxpause'), false],
    ['every alert, and an event that raises one', 'alert.*', QUARANTINE, true],
    ['every alert, and an event of the same action that raises none', 'alert.*', BY_HAND, false],
    ['the alerts of an area', 'alert.report.*', QUARANTINE, true],
    ['the alerts of another area', 'alert.rollout.*', QUARANTINE, false],
    ['the alert of a code', 'alert.rollout.service-lags', PAUSE, true],
    ['every alert, and its acknowledgement', 'alert.*', record('alert.acknowledge'), true],
    ['a star, and what another webhook failed at', '*', failed('pager'), true],
    ['a star, and what this webhook failed at', '*', failed('chat'), false],
  ])('given %s (%s), then it is as it says', (_, pattern, what, wanted) => {
    expect(webhookFilter('chat', [pattern])(what)).toBe(wanted);
  });

  test('given several patterns, then one that matches is enough', () => {
    const isWanted = webhookFilter('chat', ['device.*', 'rollout.pause']);
    expect([QUARANTINE, PAUSE, record('rollout.resume')].map(isWanted)).toEqual([true, true, false]);
  });
});

describe('what it is told', () => {
  test('given a record, then all of it, with its alert where it raises one', () => {
    expect(webhookPayload(QUARANTINE)).toEqual({
      type: 'device.quarantine',
      timestamp: second(1).toISOString(),
      id: QUARANTINE.id,
      seq: 1,
      data: QUARANTINE,
      alert: expect.objectContaining({ code: 'report.forked', severity: 'critical', device: 'egm-1' }),
    });
    expect(webhookPayload(BY_HAND)).not.toHaveProperty('alert');
  });
});
