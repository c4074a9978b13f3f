import { expect, it } from 'vitest';
import { AUDIT_GENESIS } from '#schema/audit.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { event, second, sha256 } from '#test/support/store-fixtures.ts';
import { UNWRITABLE, type CurrentStore } from './store-under-test.ts';

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
}
