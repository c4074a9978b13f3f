import { describe, expect, it } from 'vitest';
import { alertOf } from '#gateway/audit/alerts.ts';
import { AUDIT_GENESIS, type AuditEvent } from '#schema/audit.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { event, second, sha256 } from '#test/support/store-fixtures.ts';
import { lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

export function auditContract(current: CurrentStore): void {
  it('given nothing, when the head is asked for, then it is the genesis', async () => {
    expect(await current().store.auditHead()).toEqual({ seq: 0, hash: AUDIT_GENESIS });
  });

  it('given events with every field, when they are appended, then the records hold them, in order and paged', async () => {
    const { store } = current();
    const full = event('keyset.rotate', {
      code: 'keyset.not-found',
      outcome: 'denied',
      actor: { type: 'operator', id: 'alice', role: 'key-admin' },
      source: '10.0.0.1',
      object: { type: 'keyset', id: 'wallet-kek' },
      device: 'egm-1',
      approval: { id: 'a-1', hash: sha256('request'), approvers: ['bob'] },
      details: { text: 'ünïcode "quoted"\n\u0000', number: 1.5, yes: true, nothing: null, list: ['a', 'b'] },
    });
    await store.appendAudit([event('first'), full], second(1));
    await store.appendAudit([event('third')], second(2));
    await store.appendAudit([], second(3));
    const records = await store.auditRecords(0, 10);
    expect(records.map(({ seq, action, time }) => [seq, action, time])).toEqual([
      [1, 'first', second(1).toISOString()],
      [2, 'keyset.rotate', second(1).toISOString()],
      [3, 'third', second(2).toISOString()],
    ]);
    expect(records[1]).toMatchObject({ ...full, realm: 'test', prevHash: records[0]?.hash });
    expect(records[1]?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect((await store.auditRecords(1, 1)).map(({ seq }) => seq)).toEqual([2]);
    expect((await store.auditHead()).hash).toBe(records[2]?.hash);
  });

  it('given two events of which one cannot be written, when they are appended, then neither is', async () => {
    const { store } = current();
    await expectRefusal('internal.unexpected', () => store.appendAudit([event('first'), UNWRITABLE], second(1)));
    expect((await store.auditHead()).seq).toBe(0);
  });

  it('given checkpoints, when they are listed, then they are those after the number, and the latest is the last', async () => {
    const { store } = current();
    await store.appendAudit([event('1'), event('2'), event('3')], second(1));
    expect(await store.latestCheckpoint()).toBeUndefined();
    const checkpoint = (seq: number) => ({ seq, cms: Buffer.from(`cms ${seq}`), sha256: sha256(`cms ${seq}`) });
    for (const seq of [1, 3]) await store.addCheckpoint(checkpoint(seq), second(2));
    expect(await store.latestCheckpoint()).toEqual(checkpoint(3));
    expect(await store.checkpoints(0, 10)).toEqual([checkpoint(1), checkpoint(3)]);
    expect(await store.checkpoints(1, 10)).toEqual([checkpoint(3)]);
  });

  describe('alerts', () => {
    const quarantine = (device: string): AuditEvent =>
      event('device.quarantine', { code: 'report.forked', actor: { type: 'device', id: device }, device });
    const due = event('keyset.rotation-due', {
      code: 'keyset.rotation-due',
      object: { type: 'keyset', id: 'wallet-kek' },
    });
    const acknowledge = event('alert.acknowledge');

    it('given an event that alarms, when it is recorded, then an alert with all of it is open, and its record is named', async () => {
      const { store } = current();
      await store.appendAudit([event('first'), quarantine('egm-1')], second(1));
      const [alert, ...others] = await store.alerts({ open: true, limit: 10 });
      expect(others).toEqual([]);
      expect(alert).toEqual({
        ...alertOf(quarantine('egm-1')),
        id: alert?.id,
        firstSeq: 2,
        lastSeq: 2,
        occurrences: 1,
        raisedAt: second(1),
        lastAt: second(1),
        acknowledgedAt: undefined,
        acknowledgedBy: undefined,
      });
      expect(await store.alert(alert?.id ?? 0)).toEqual(alert);
      expect(await store.alert((alert?.id ?? 0) + 1)).toBeUndefined();
    });

    it('given the same trouble again, when it is recorded, then the open alert counts it, and another device has its own', async () => {
      const { store } = current();
      await store.appendAudit([quarantine('egm-1')], second(1));
      await store.appendAudit([quarantine('egm-2'), quarantine('egm-1')], second(2));
      const open = await store.alerts({ open: true, limit: 10 });
      expect(
        open.map(({ device, occurrences, firstSeq, lastSeq }) => [device, occurrences, firstSeq, lastSeq]),
      ).toEqual([
        ['egm-2', 1, 2, 2],
        ['egm-1', 2, 1, 3],
      ]);
      expect(open.map(({ raisedAt, lastAt }) => [raisedAt, lastAt])).toEqual([
        [second(2), second(2)],
        [second(1), second(2)],
      ]);
    });

    it('given an alert, when it is acknowledged, then it is closed once, on record, and the next trouble raises a new one', async () => {
      const { store } = current();
      await store.appendAudit([quarantine('egm-1')], second(1));
      const [alert] = await store.alerts({ open: true, limit: 10 });
      const id = alert?.id ?? 0;
      expect(await store.acknowledgeAlert(id, 'grace', second(2), acknowledge)).toEqual({
        ...alert,
        acknowledgedAt: second(2),
        acknowledgedBy: 'grace',
      });
      expect(await lastAudited(store)).toBe('alert.acknowledge');
      await expectRefusal('alert.not-found', () => store.acknowledgeAlert(id, 'ada', second(3), acknowledge));
      await expectRefusal('alert.not-found', () => store.acknowledgeAlert(id + 7, 'ada', second(3), acknowledge));
      expect((await store.auditHead()).seq).toBe(2);
      expect(await store.alerts({ open: true, limit: 10 })).toEqual([]);
      await store.appendAudit([quarantine('egm-1')], second(4));
      const again = await store.alerts({ limit: 10 });
      expect(again.map(({ occurrences, acknowledgedBy }) => [occurrences, acknowledgedBy])).toEqual([
        [1, undefined],
        [1, 'grace'],
      ]);
      expect((await store.alerts({ open: false, limit: 10 })).map((one) => one.id)).toEqual([id]);
    });

    it('given an acknowledgement that cannot be audited, when it is made, then the alert stays open', async () => {
      const { store } = current();
      await store.appendAudit([quarantine('egm-1')], second(1));
      const [alert] = await store.alerts({ open: true, limit: 10 });
      await expectRefusal('internal.unexpected', () =>
        store.acknowledgeAlert(alert?.id ?? 0, 'grace', second(2), UNWRITABLE),
      );
      expect(await store.alerts({ open: true, limit: 10 })).toEqual([alert]);
    });

    it('given an event that cannot be recorded beside one that alarms, when they are appended, then there is no alert', async () => {
      const { store } = current();
      await expectRefusal('internal.unexpected', () => store.appendAudit([quarantine('egm-1'), UNWRITABLE], second(1)));
      expect(await store.alerts({ limit: 10 })).toEqual([]);
    });

    it('given many alerts, when they are listed by pages and counted, then every one is there once, newest first', async () => {
      const { store } = current();
      expect(await store.openAlerts()).toEqual({ critical: 0, warning: 0, info: 0 });
      for (const device of ['egm-1', 'egm-2', 'egm-3']) await store.appendAudit([quarantine(device)], second(1));
      await store.appendAudit([due], second(2));
      const first = await store.alerts({ open: true, limit: 3 });
      const rest = await store.alerts({ open: true, limit: 3, after: first.at(-1)?.id });
      expect([...first, ...rest].map(({ subject }) => subject)).toEqual([
        'keyset.rotation-due wallet-kek',
        'report.forked egm-3',
        'report.forked egm-2',
        'report.forked egm-1',
      ]);
      expect(await store.openAlerts()).toEqual({ critical: 3, warning: 0, info: 1 });
      await store.acknowledgeAlert(first[0]?.id ?? 0, 'grace', second(3), acknowledge);
      expect(await store.openAlerts()).toEqual({ critical: 3, warning: 0, info: 0 });
    });

    it('given a watcher, when records are committed, then it is told of the alerts that are new, until it ends', async () => {
      const { store } = current();
      const told: (readonly (string | undefined)[])[] = [];
      const end = store.watchAudit(({ raised }) => void told.push(raised.map(({ device }) => device)));
      await store.appendAudit([event('first')], second(1));
      await store.appendAudit([quarantine('egm-1'), quarantine('egm-1'), quarantine('egm-2')], second(1));
      await store.appendAudit([quarantine('egm-2')], second(2));
      await expectRefusal('internal.unexpected', () => store.appendAudit([UNWRITABLE], second(2)));
      end();
      await store.appendAudit([quarantine('egm-3')], second(3));
      expect(told).toEqual([[], ['egm-1', 'egm-2'], []]);
    });
  });

  it('given webhooks, when they save how far they have come, then each finds its own place again, also after a restart', async () => {
    const under = current();
    const { store } = under;
    expect(await store.webhookCursor('chat')).toBeUndefined();
    await store.saveWebhookCursor('chat', 7);
    await store.saveWebhookCursor('pager', 0);
    await store.saveWebhookCursor('chat', 12);
    const again = await under.reopen();
    expect([await again.webhookCursor('chat'), await again.webhookCursor('pager')]).toEqual([12, 0]);
    expect(await again.webhookCursor('other')).toBeUndefined();
  });
}
