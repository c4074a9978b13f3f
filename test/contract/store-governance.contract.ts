import { expect, it } from 'vitest';
import { DeviceClass, KeySetName } from '#schema/ids.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  accepted,
  approval,
  approvalId,
  deviceId,
  enrol,
  event,
  importDevices,
  keySetChange,
  keyVersion,
  operator,
  operatorName,
  policyInput,
  POLICY_DOCUMENT,
  proof,
  recordReport,
  refusal,
  second,
  sha256,
  WALLET,
} from '#test/support/store-fixtures.ts';
import { auditedActions, lastAudited, UNWRITABLE, type CurrentStore } from './store-under-test.ts';

export function governanceContract(current: CurrentStore): void {
  it('given a policy, when it is applied, then it is current, its key sets are there and every device is due', async () => {
    const { store } = current();
    expect(await store.currentPolicy()).toBeUndefined();
    await importDevices(store, 'egm-1');
    const applied = await store.applyPolicy(policyInput(), [keySetChange()], [], event('policy.apply'));
    expect(applied).toEqual({ version: 1, ...policyInput() });
    expect(await store.currentPolicy()).toEqual(applied);
    expect(await store.keySets()).toEqual([
      { ...keySetChange().keySet, revision: second(0).getTime(), createdAt: second(0), versions: [keyVersion(1)] },
    ]);
    expect((await store.device(deviceId('egm-1')))?.sync.dueAt).toEqual(second(0));
    const document = `${POLICY_DOCUMENT}tickets: { validity: 1h }\n`;
    const next = await store.applyPolicy(policyInput(document, second(9)), [], [], event('policy.apply'));
    expect([next.version, (await store.currentPolicy())?.policy.tickets.validity]).toEqual([2, 3_600_000]);
  });

  it('given devices, when it is asked whether any was heard since, then only reports of enrolled ones count', async () => {
    const { store } = current();
    expect(await store.isHeardSince(second(500)), 'nobody can have reported').toBe(true);
    await importDevices(store, 'egm-1');
    const certificate = await enrol(store, 'egm-1');
    expect(await store.isHeardSince(second(500))).toBe(true);
    await recordReport(store, certificate, 1, accepted());
    expect([await store.isHeardSince(second(101)), await store.isHeardSince(second(102))]).toEqual([true, false]);
    expect(await store.restoration()).toBeUndefined();
  });

  it('given a key set, when a policy changes or repeats it, then its revision rises only with a change', async () => {
    const { store } = current();
    await store.applyPolicy(policyInput(), [keySetChange()], [], event('policy.apply'));
    await store.applyPolicy(
      policyInput(),
      [keySetChange({}, undefined)].map(({ keySet }) => ({ keySet, first: undefined })),
      [],
      event('policy.apply'),
    );
    expect((await store.keySet(WALLET))?.revision).toBe(second(0).getTime());
    const selector = { class: [DeviceClass.parse('egm')] };
    await store.applyPolicy(
      policyInput(),
      [{ keySet: { ...keySetChange().keySet, selector, cryptoperiodMs: 5 }, first: undefined }],
      [],
      event('policy.apply'),
    );
    expect(await store.keySet(WALLET)).toMatchObject({
      // The clock stands still, the revision rises.
      revision: second(0).getTime() + 1,
      selector,
      cryptoperiodMs: 5,
      versions: [{ version: 1 }],
    });
  });

  it('given a removed key set that a device has known, when its name comes back, then no number names two keys', async () => {
    const { store } = current();
    await importDevices(store, 'egm-1');
    const unused = KeySetName.parse('unused');
    await store.applyPolicy(policyInput(), [keySetChange(), keySetChange({ name: unused })], [], event('policy.apply'));
    await recordReport(store, await enrol(store, 'egm-1'), 1, accepted({ proofs: [proof(1, 'destroyed')] }));
    await store.applyPolicy(policyInput(), [], [WALLET, unused], event('policy.apply'));
    expect(await store.keySets()).toEqual([]);
    await expectRefusal('keyset.state-refused', () =>
      store.applyPolicy(policyInput(), [keySetChange()], [], event('policy.apply')),
    );
    await store.applyPolicy(
      policyInput(),
      [keySetChange({ name: unused }), keySetChange({}, keyVersion(2))],
      [],
      event('policy.apply'),
    );
    expect((await store.keySets()).map(({ name }) => name)).toEqual([unused, WALLET]);
  });

  it('given a policy that cannot be audited, when it is applied, then nothing of it is there', async () => {
    const { store } = current();
    await expectRefusal('internal.unexpected', () =>
      store.applyPolicy(policyInput(), [keySetChange()], [], UNWRITABLE),
    );
    expect([await store.currentPolicy(), await store.keySets()]).toEqual([undefined, []]);
  });

  it('given operators, when they are looked up by name, token or role, then the token hash stays inside', async () => {
    const { store } = current();
    const { tokenHash, ...alice } = operator('alice');
    await store.addOperator({ ...alice, tokenHash }, event('operator.add'));
    await store.addOperator(operator('bob', { role: 'approver' }), event('operator.add'));
    expect(await store.operatorByTokenHash(tokenHash)).toEqual(alice);
    expect(await store.operatorByTokenHash(sha256('another token'))).toBeUndefined();
    expect((await store.operatorByName(operatorName('bob')))?.role).toBe('approver');
    expect((await store.operators()).map(({ name }) => name)).toEqual(['alice', 'bob']);
    expect([await store.countOperators('approver'), await store.countOperators('auditor')]).toEqual([1, 0]);
  });

  it('given an operator, when another of the name is added, then the first one stays', async () => {
    const { store } = current();
    await store.addOperator(operator('alice'), event('operator.add'));
    await expectRefusal('operator.exists', () =>
      store.addOperator({ ...operator('alice', { role: 'auditor' }), tokenHash: sha256('new') }, event('operator.add')),
    );
    expect((await store.operatorByName(operatorName('alice')))?.role).toBe('key-admin');
    expect(await auditedActions(store)).toEqual(['operator.add']);
  });

  it('given an approval request, when it is approved and executed, then each step is kept and audited', async () => {
    const { store } = current();
    await store.addApproval(approval(1), event('approval.request'));
    await store.addApproval(approval(2), event('approval.request'));
    expect((await store.approvals('pending', 10)).map(({ id }) => id)).toEqual([approvalId(2), approvalId(1)]);
    const { outcome, approval: decided } = await store.decideApproval(approvalId(1), second(7), (found) => {
      expect(found).toEqual(approval(1));
      return { kind: 'decide', state: 'approved', approver: operatorName('bob'), audit: [event('approval.approve')] };
    });
    expect([outcome.kind, decided]).toEqual([
      'decide',
      { ...approval(1), state: 'approved', approver: 'bob', decidedAt: second(7) },
    ]);
    await store.finishApproval(approvalId(1), 'executed', '{"rollout":1}', event('approval.execute'));
    expect(await store.approval(approvalId(1))).toMatchObject({ state: 'executed', result: '{"rollout":1}' });
    expect((await store.approvals(undefined, 1)).map(({ id }) => id)).toEqual([approvalId(2)]);
    expect(await auditedActions(store)).toEqual([
      'approval.request',
      'approval.request',
      'approval.approve',
      'approval.execute',
    ]);
  });

  it('given a refused decision, when an approval is decided on, then it stays pending', async () => {
    const { store } = current();
    await store.addApproval(approval(1), event('approval.request'));
    const { approval: after } = await store.decideApproval(approvalId(1), second(7), () => refusal('approval.self'));
    expect(after?.state).toBe('pending');
    expect(await lastAudited(store)).toBe('test.refuse');
    const none = await store.decideApproval(approvalId(9), second(7), (found) => {
      expect(found).toBeUndefined();
      return refusal('approval.not-found');
    });
    expect(none.approval).toBeUndefined();
  });

  it('given an approval that is not approved or not there, when it is finished, then it is refused', async () => {
    const { store } = current();
    await store.addApproval(approval(1), event('approval.request'));
    await expectRefusal('approval.closed', () =>
      store.finishApproval(approvalId(1), 'executed', '{}', event('approval.execute')),
    );
    await expectRefusal('approval.not-found', () =>
      store.finishApproval(approvalId(9), 'failed', '{}', event('approval.execute')),
    );
    expect((await store.approval(approvalId(1)))?.state).toBe('pending');
    expect(await auditedActions(store)).toEqual(['approval.request']);
  });
}
