import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { feedAlerts } from '#gateway/api/alert-feed.ts';
import { createEventFeed } from '#gateway/api/events.ts';
import { acknowledgeCommand } from '#gateway/audit/alerts-command.ts';
import type { AlertRecord } from '#gateway/ports/store/audit.ts';
import { AlertPage, GatewayEvent, StatusView } from '#schema/api/views.ts';
import type { AuditEvent } from '#schema/audit.ts';
import { event } from '#test/support/store-fixtures.ts';
import { problemIn, startApi, type ApiHarness, type Person } from './harness.ts';

const quarantine = (device: string): AuditEvent =>
  event('device.quarantine', { code: 'report.forked', actor: { type: 'device', id: device }, device });

describe('alerts over the operator API', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
    for (const device of ['egm-1', 'egm-2', 'egm-3']) await happens(quarantine(device));
    await happens(quarantine('egm-1'));
  });
  afterAll(() => api.close());

  const happens = (...events: readonly AuditEvent[]): Promise<void> => api.store.appendAudit(events, new Date());
  const list = async (person: Person, query: Readonly<Record<string, string | number>> = {}): Promise<AlertPage> => {
    const answer = await api.call(person, 'alert.list', { query });
    expect(answer.status, answer.text).toBe(200);
    return AlertPage.parse(answer.body);
  };
  const acknowledge = (person: Person, id: number | string, note = 'seen') =>
    api.call(person, 'alert.acknowledge', { params: { id }, body: { note } });

  test('given open alerts, when they are listed by pages, then each is there once, newest first, by every role', async () => {
    const first = await list('mary', { limit: 2 });
    const rest = await list('grace', { limit: 2, after: first.next ?? 0 });
    expect([...first.items, ...rest.items].map(({ device, occurrences }) => [device, occurrences])).toEqual([
      ['egm-3', 1],
      ['egm-2', 1],
      ['egm-1', 2],
    ]);
    expect(rest.next).toBeNull();
    expect(first.items[0]).toMatchObject({ code: 'report.forked', severity: 'critical', acknowledgedAt: null });
  });

  test('given an alert, when it is acknowledged, then it is closed once, with its note on record', async () => {
    const [newest] = (await list('grace', { open: 'true' })).items;
    const id = newest?.id ?? 0;
    expect((await acknowledge('grace', id, 'wiped and enrolled anew')).body).toEqual({
      state: 'done',
      result: { alert: id, code: 'report.forked', occurrences: 1 },
    });
    expect((await list('grace', { open: 'true' })).items.map((one) => one.id)).not.toContain(id);
    expect((await list('grace', { open: 'false' })).items).toMatchObject([{ id, acknowledgedBy: 'grace' }]);
    const [record] = (await api.store.auditRecords(0, 1_000)).slice(-1);
    expect(record).toMatchObject({
      action: 'alert.acknowledge',
      actor: { type: 'operator', id: 'grace' },
      object: { type: 'alert', id: String(id) },
      device: 'egm-3',
      details: { code: 'report.forked', note: 'wiped and enrolled anew' },
    });
    expect(problemIn(await acknowledge('ada', id))).toMatchObject({ status: 404, code: 'alert.not-found' });
  });

  test('given an alert that is not there, or a number that is none, when it is acknowledged, then it is refused', async () => {
    expect(problemIn(await acknowledge('grace', 4_711))).toMatchObject({ status: 404, code: 'alert.not-found' });
    expect(problemIn(await acknowledge('grace', 'all'))).toMatchObject({ status: 400, code: 'input.invalid' });
    expect(problemIn(await acknowledge('grace', 0))).toMatchObject({ status: 400, code: 'input.invalid' });
  });

  test('given no note, or an auditor, when an alert is acknowledged, then it is refused and stays open', async () => {
    const [newest] = (await list('grace', { open: 'true' })).items;
    const id = newest?.id ?? 0;
    const silent = await api.call('grace', 'alert.acknowledge', { params: { id }, body: {} });
    expect(problemIn(silent)).toMatchObject({ status: 400, code: 'input.invalid' });
    expect(problemIn(await acknowledge('mary', id))).toMatchObject({ status: 403, code: 'operator.forbidden' });
    expect((await list('grace', { open: 'true' })).items.map((one) => one.id)).toContain(id);
  });

  test('given open alerts, when the status and the metrics are asked for, then they are counted by severity', async () => {
    await happens(
      event('keyset.rotation-due', { code: 'keyset.rotation-due', object: { type: 'keyset', id: 'wallet-kek' } }),
    );
    const { openAlerts } = StatusView.parse((await api.call('mary', 'status.show')).body);
    expect(openAlerts).toMatchObject({ warning: 0, info: 1 });
    expect(openAlerts.critical).toBe((await list('mary', { open: 'true' })).items.length - 1);
    const { text } = await api.call('mary', 'metrics.show');
    expect(text).toContain(`croupier_alerts_open{severity="critical"} ${openAlerts.critical}`);
    expect(text).toContain('croupier_alerts_open{severity="warning"} 0');
  });

  test('given those who look on, when an alert is raised, then they are told once, however often it repeats', async () => {
    const feed = createEventFeed();
    const seen: GatewayEvent[] = [];
    feed.subscribe((entry) => seen.push(entry.event));
    const end = feedAlerts(api.store, feed);
    await happens(event('test.nothing'), quarantine('egm-9'));
    await happens(quarantine('egm-9'));
    end();
    await happens(quarantine('egm-8'));
    expect(seen.map((one) => GatewayEvent.parse(one))).toEqual([
      expect.objectContaining({ type: 'alert', code: 'report.forked', severity: 'critical', state: 'raised' }),
    ]);
  });

  test('given the command, when it has closed an alert, then who looks on can be told of it', async () => {
    const told: AlertRecord[] = [];
    const clock = { now: () => new Date(), monotonic: () => 0, after: () => () => {} };
    const command = acknowledgeCommand({ store: api.store, clock, onAcknowledged: (alert) => void told.push(alert) });
    const authority = { actor: { type: 'operator', id: 'ada' }, approval: undefined } as const;
    const [newest] = (await list('grace', { open: 'true' })).items;
    await command.execute({ alert: newest?.id ?? 0, note: 'seen' }, authority);
    expect(told).toMatchObject([{ id: newest?.id, acknowledgedBy: 'ada' }]);
    await expect(command.execute({ alert: newest?.id ?? 0, note: 'again' }, authority)).rejects.toThrow();
    expect(told).toHaveLength(1);
  });
});
