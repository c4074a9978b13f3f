import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandAnswer } from '#schema/api/commands.ts';
import { ApprovalAnswer, ApprovalList, ApprovalView } from '#schema/api/views.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { CroupierError } from '#schema/errors.ts';
import { ApprovalId, DeviceId, OperatorName } from '#schema/ids.ts';
import { inventoryRow } from '#test/support/store-fixtures.ts';
import { problemIn, startApi, type Answer, type ApiHarness, type Person } from './harness.ts';

const DAY = 86_400_000;

describe('approvals over the operator API', () => {
  let api: ApiHarness;
  let clock: ManualClock;
  beforeEach(async () => {
    clock = new ManualClock(new Date());
    api = await startApi({ clock });
  });
  afterEach(() => api.close());

  const newcomer = { name: 'edsger', role: 'auditor', tokenHash: 'e'.repeat(64) };

  const ask = async (person: Person = 'ada'): Promise<{ id: string; sha256: string }> => {
    const answer = CommandAnswer.parse((await api.call(person, 'operator.add', { body: newcomer })).body);
    if (answer.state !== 'approval-required') throw new Error('it must wait for an approval');
    return answer.approval;
  };
  const approve = (person: Person, { id, sha256 }: { id: string; sha256: string }): Promise<Answer> =>
    api.call(person, 'approval.approve', { params: { id }, body: { sha256 } });
  const isThere = async (): Promise<boolean> =>
    (await api.store.operatorByName(OperatorName.parse('edsger'))) !== undefined;
  const refusedWith = async (answer: Answer, status: number, code: string): Promise<void> => {
    expect(problemIn(answer)).toMatchObject({ status, code });
    expect(await isThere()).toBe(false);
  };

  test('another person approves exactly what was asked, and it is executed once', async () => {
    const asked = await ask();
    expect(await isThere()).toBe(false);
    const shown = ApprovalView.parse((await api.call('hedy', 'approval.show', { params: { id: asked.id } })).body);
    expect(shown).toMatchObject({
      action: 'operator.add',
      state: 'pending',
      requester: 'ada',
      request: newcomer,
      sha256: asked.sha256,
    });
    const answer = ApprovalAnswer.parse((await approve('hedy', asked)).body);
    expect(answer).toMatchObject({
      approval: { state: 'executed', approver: 'hedy' },
      result: { name: 'edsger', role: 'auditor' },
    });
    expect(await isThere()).toBe(true);
    expect(problemIn(await approve('joan', asked))).toMatchObject({ status: 409, code: 'approval.closed' });
  });

  test('the audit names requester, approver and the hash of the request', async () => {
    const asked = await ask();
    await approve('hedy', asked);
    const records = await api.store.auditRecords(0, 1_000);
    const added = records.find(({ action, object }) => action === 'operator.add' && object?.id === 'edsger');
    expect(added).toMatchObject({
      actor: { id: 'ada' },
      approval: { id: asked.id, hash: asked.sha256, approvers: ['hedy'] },
    });
  });

  test('nobody but an approver approves', async () => {
    const asked = await ask();
    for (const person of ['ada', 'barbara', 'grace', 'mary'] as const) {
      await refusedWith(await approve(person, asked), 403, 'operator.forbidden');
    }
    expect((await approve('hedy', asked)).status).toBe(200);
  });

  test('a hash other than that of the request is refused', async () => {
    const asked = await ask();
    await refusedWith(await approve('hedy', { ...asked, sha256: '0'.repeat(64) }), 409, 'approval.hash-mismatch');
    expect((await approve('hedy', asked)).status).toBe(200);
  });

  test('an approval without a hash is refused', async () => {
    const { id } = await ask();
    await refusedWith(await api.call('hedy', 'approval.approve', { params: { id } }), 400, 'input.invalid');
  });

  test('after a day it is too late, and the request is shown as expired', async () => {
    const asked = await ask();
    clock.advance(DAY);
    const later = await ask('barbara');
    clock.advance(1);
    await refusedWith(await approve('hedy', asked), 409, 'approval.expired');
    const listed = async (state: string): Promise<string[]> =>
      ApprovalList.parse((await api.call('mary', 'approval.list', { query: { state } })).body).items.map(
        ({ id }) => id,
      );
    expect(await listed('expired')).toEqual([asked.id]);
    expect(await listed('pending')).toEqual([later.id]);
    expect((await approve('hedy', later)).status).toBe(200);
  });

  test('a refusal ends the request', async () => {
    const asked = await ask();
    const refused = ApprovalAnswer.parse(
      (await api.call('hedy', 'approval.refuse', { params: { id: asked.id } })).body,
    );
    expect(refused.approval.state).toBe('refused');
    await refusedWith(await approve('joan', asked), 409, 'approval.closed');
  });

  test('an unknown request is 404', async () => {
    const id = '00000000-0000-4000-8000-000000000009';
    await refusedWith(await approve('hedy', { id, sha256: '0'.repeat(64) }), 404, 'approval.not-found');
  });

  test('what the end of a gateway interrupted is closed at the next start, once, and not carried out', async () => {
    const [interrupted, waiting] = [await ask('ada'), await ask('barbara')];
    await api.store.decideApproval(ApprovalId.parse(interrupted.id), clock.now(), () => ({
      kind: 'decide',
      state: 'approved',
      approver: OperatorName.parse('hedy'),
      audit: [],
    }));
    await api.desk.closeInterrupted();
    await api.desk.closeInterrupted();
    const shown = ApprovalView.parse(
      (await api.call('mary', 'approval.show', { params: { id: interrupted.id } })).body,
    );
    expect(shown).toMatchObject({ state: 'failed', result: { code: 'approval.interrupted' } });
    await refusedWith(await approve('hedy', interrupted), 409, 'approval.closed');
    const records = await api.store.auditRecords(0, 1_000);
    expect(records.filter(({ code }) => code === 'approval.interrupted')).toHaveLength(1);
    expect((await approve('hedy', waiting)).status).toBe(200);
  });

  test('a command that was carried out never counts as failed, even if its end cannot be recorded', async () => {
    const asked = await ask();
    const finish = api.store.finishApproval.bind(api.store);
    Object.assign(api.store, { finishApproval: () => Promise.reject(new CroupierError('store.unavailable')) });
    expect(problemIn(await approve('hedy', asked))).toMatchObject({ code: 'store.unavailable' });
    Object.assign(api.store, { finishApproval: finish });
    expect(await isThere()).toBe(true);
    const shown = ApprovalView.parse((await api.call('mary', 'approval.show', { params: { id: asked.id } })).body);
    expect(shown.state).toBe('approved');
  });

  test('a release does not undo a containment that came after it was asked for', async () => {
    const device = DeviceId.parse('egm-1');
    await api.done('device.import', { rows: [inventoryRow('egm-1')] });
    const contain = (reason: string): Promise<Answer> =>
      api.call('grace', 'device.quarantine', { params: { id: device }, body: { reason } });
    const askRelease = async (): Promise<{ id: string; sha256: string }> => {
      const body = { reason: 'looked at' };
      const { body: parsed } = await api.call('grace', 'device.release', { params: { id: device }, body });
      const answer = CommandAnswer.parse(parsed);
      if (answer.state !== 'approval-required') throw new Error('it must wait for an approval');
      return answer.approval;
    };
    expect((await contain('seal broken')).status).toBe(200);
    clock.advance(1);
    const stale = await askRelease();
    clock.advance(1);
    await contain('and now a clone');
    expect(problemIn(await approve('hedy', stale))).toMatchObject({ code: 'device.state-refused' });
    expect((await api.store.deviceRecord(device))?.state.kind).toBe('quarantined');
    expect((await approve('hedy', await askRelease())).status).toBe(200);
    expect((await api.store.deviceRecord(device))?.state.kind).toBe('registered');
  });

  test('what can no longer be done when it is approved fails, and says why', async () => {
    const [first, second] = [await ask('ada'), await ask('barbara')];
    expect((await approve('hedy', first)).status).toBe(200);
    expect(problemIn(await approve('hedy', second))).toMatchObject({ status: 409, code: 'operator.exists' });
    const shown = ApprovalView.parse((await api.call('mary', 'approval.show', { params: { id: second.id } })).body);
    expect(shown).toMatchObject({ state: 'failed', result: { code: 'operator.exists' } });
  });
});
