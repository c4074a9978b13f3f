/** Rollouts over the operator API: plans, progress, and what people do with them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CertificateRecord, TargetState } from '#gateway/ports/store/records.ts';
import { CommandAnswer } from '#schema/api/commands.ts';
import type { RouteName } from '#schema/api/routes.ts';
import {
  HistoryPage,
  KeySetDetailView,
  KeySetList,
  RolloutList,
  RolloutPlanView,
  RolloutView,
  TargetPage,
  type RolloutSummaryView,
  type TargetStepView,
} from '#schema/api/views.ts';
import { KeySetName } from '#schema/ids.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { accepted, connect, enrol, proof, recordReport, rolloutId, targetMove } from '#test/support/store-fixtures.ts';
import { POLICY, problemIn, startApi, type Answer, type ApiHarness, type Call, type Person } from './harness.ts';

const PLANS = `${POLICY}rollouts:
  plans:
    careful: { canary: { count: 1, soak: 1h }, waves: [{ rest: true, name: others }] }
    demanding: { minimumSample: 50 }
`;
const WALLET = KeySetName.parse('wallet-kek');
const EGMS = ['EGM-1', 'EGM-2', 'EGM-3', 'EGM-4'] as const;

const KEY_CHANGE = { kind: 'key-version', keySet: WALLET } as const;
const CAMPAIGN = { kind: 're-enrolment', cause: 'policy' } as const;

describe('rollouts over the operator API', () => {
  let api: ApiHarness;
  const certificates = new Map<string, CertificateRecord>();
  beforeEach(async () => {
    api = await startApi();
    await api.done('policy.apply', { document: PLANS, replaces: null });
    const row = (id: string, deviceClass: string): InventoryRow =>
      InventoryRow.parse({ id, class: deviceClass, site: 'main', serial: id, labels: {} });
    await api.done('device.import', {
      rows: [...EGMS, 'EGM-5'].map((id) => row(id, 'egm')).concat(row('SRV-1', 'service')),
    });
    for (const id of [...EGMS, 'SRV-1']) certificates.set(id, await enrol(api.store, id));
    await connect(api.store, 'EGM-1', 'EGM-2', 'SRV-1');
  });
  afterEach(() => api.close());

  const plan = async (body: object): Promise<RolloutPlanView> => {
    const answer = await api.call('mary', 'rollout.plan', { body });
    expect(answer.status, answer.text).toBe(200);
    return RolloutPlanView.parse(answer.body);
  };
  const refusal = async (person: Person, name: RouteName, call: Call): Promise<readonly [number, string]> => {
    const { status, code } = problemIn(await api.call(person, name, call));
    return [status, code];
  };
  const approve = async (answer: Answer): Promise<Answer> => {
    expect(answer.status, answer.text).toBe(202);
    const asked = CommandAnswer.parse(answer.body);
    if (asked.state !== 'approval-required') throw new Error('it must wait for an approval');
    const { id, sha256 } = asked.approval;
    return api.call('hedy', 'approval.approve', { params: { id }, body: { sha256 } });
  };
  const latest = async (): Promise<RolloutSummaryView> => {
    const [found] = RolloutList.parse((await api.call('mary', 'rollout.list')).body).items;
    if (found === undefined) throw new Error('no rollout');
    return found;
  };
  const show = async (id: string): Promise<RolloutView> =>
    RolloutView.parse((await api.call('mary', 'rollout.show', { params: { id } })).body);
  /** A rotation that has begun. */
  const rotated = async (terms: object = {}): Promise<string> => {
    await approve(await api.call('ada', 'keyset.rotate', { params: { name: WALLET }, body: terms }));
    await api.settle();
    return (await latest()).id;
  };
  let counter = 0;
  /** A device proves by a report that it is so far. */
  const proves = async (rollout: string, device: string, state: TargetState, wave = 0, over = {}): Promise<void> => {
    const certificate = certificates.get(device);
    if (certificate === undefined) throw new Error(`${device} is not enrolled`);
    const isStored = state === 'stored' || state === 'active';
    const target = targetMove(1, state, { wave, service: device === 'SRV-1', ...over });
    counter += 1;
    await recordReport(
      api.store,
      certificate,
      counter,
      accepted({
        proofs: isStored ? [proof(2, state, undefined)] : [],
        targets: [{ ...target, rollout: (await show(rollout)).id }],
      }),
    );
  };

  describe('plans', () => {
    test('given a rotation, then waves, who is offline, who is left behind, and what gates what; nothing is changed', async () => {
      const careful = await plan({ change: KEY_CHANGE, plan: 'careful' });
      expect(careful).toMatchObject({
        change: 'key-version',
        what: 'key set wallet-kek: version 2 in place of 1',
        targets: 5,
        connected: 3,
        errors: [],
        before: null,
        complete: true,
      });
      expect(careful.waves.map(({ name, soakMs, services }) => [name, soakMs, services])).toEqual([
        ['canary', 3_600_000, 1],
        ['others', 0, 0],
      ]);
      expect(careful.offline.map(({ device }) => device).sort()).toEqual(['EGM-3', 'EGM-4']);
      expect(careful.leftBehind).toContainEqual({ why: 'registered and never enrolled', count: 1, devices: ['EGM-5'] });
      expect(careful.gates.join('\n')).toContain('activation waits until these services have stored it: SRV-1');
      expect(RolloutList.parse((await api.call('mary', 'rollout.list')).body).items).toEqual([]);
    });

    test('given the hash that was shown, then it can be asked for; given another, then the plan has changed', async () => {
      const { planSha256 } = await plan({ change: KEY_CHANGE, plan: 'careful' });
      const rotate = (sha256: string): Promise<Answer> =>
        api.call('ada', 'keyset.rotate', {
          params: { name: WALLET },
          body: { plan: 'careful', planSha256: sha256 },
        });
      expect(problemIn(await rotate('f'.repeat(64))).code).toBe('rollout.plan-changed');
      expect((await approve(await rotate(planSha256))).status).toBe(200);
      expect(await latest()).toMatchObject({ plan: 'careful', planSha256 });
    });

    test('given a campaign, then the time it is about is in the plan, and with it the same hash again', async () => {
      const first = await plan({ change: CAMPAIGN });
      expect(first).toMatchObject({ change: 're-enrolment', targets: 5 });
      const again = await plan({ change: { ...CAMPAIGN, before: first.before } });
      expect(again.planSha256).toBe(first.planSha256);
    });

    test('given a trust bundle, then every device with an identity is meant', async () => {
      expect(await plan({ change: { kind: 'trust-bundle' } })).toMatchObject({
        change: 'trust-bundle',
        what: 'trust bundle 2 after 1',
        targets: 5,
      });
    });

    test('given a plan that no wave can pass, then it is shown with its error, and cannot be asked for', async () => {
      const { errors } = await plan({ change: KEY_CHANGE, plan: 'demanding' });
      expect(errors.join()).toContain('can never pass');
      const call = { params: { name: WALLET }, body: { plan: 'demanding' } };
      expect(await refusal('ada', 'keyset.rotate', call)).toEqual([409, 'rollout.plan-invalid']);
      expect((await api.call('ada', 'keyset.rotate', { ...call, body: { plan: 'careful' } })).status).toBe(202);
    });

    test('given an unknown plan, key set or kind of change, then it is told which', async () => {
      const asked = (body: object) => refusal('mary', 'rollout.plan', { body });
      expect(await asked({ change: KEY_CHANGE, plan: 'nothing' })).toEqual([404, 'rollout.plan-not-found']);
      expect(await asked({ change: { kind: 'key-version', keySet: 'none' } })).toEqual([404, 'keyset.not-found']);
      expect(await asked({ change: { kind: 'firmware' } })).toEqual([400, 'input.invalid']);
      expect(await asked({ change: KEY_CHANGE, startAt: 'tomorrow' })).toEqual([400, 'input.invalid']);
    });
  });

  describe('progress', () => {
    test('given a start time, then the rollout is approved and says until when it waits', async () => {
      const startAt = '2126-01-01T00:00:00.000Z';
      const view = await show(await rotated({ startAt }));
      expect(view).toMatchObject({ state: 'approved', startAt, hold: 'it has not begun' });
      expect(view.holds).toMatchObject([{ reason: 'start-time', until: startAt, devices: [] }]);
    });

    test('given a wave that waits, then its devices are named with what they are doing; when they have it, it soaks', async () => {
      const id = await rotated({ plan: 'careful' });
      const view = await show(id);
      expect(view).toMatchObject({ state: 'distributing', wave: { index: 0, of: 2, name: 'canary' } });
      expect(view.progress.waves.map(({ name, state }) => [name, state])).toEqual([
        ['canary', 'open'],
        ['others', 'to-come'],
      ]);
      const [held] = view.holds;
      expect(held).toMatchObject({ reason: 'wave-waiting' });
      const waiting = held?.devices.map(({ device }) => device) ?? [];
      expect(waiting).toContain('SRV-1');
      expect(held?.targets).toBe(waiting.length);
      expect(held?.devices[0]).toMatchObject({ state: 'pending', connected: true, code: null });

      for (const device of waiting) await proves(id, device, 'stored');
      await api.settle();
      const soaking = await show(id);
      expect(soaking.progress.waves[0]).toMatchObject({ state: 'soaking', done: waiting.length });
      expect(soaking.holds).toMatchObject([{ reason: 'soak', until: soaking.progress.waves[0]?.soakEndsAt }]);
    });

    test('given targets of every sort, then they are listed by wave, presence, class and state', async () => {
      const id = await rotated({ plan: 'careful' });
      const list = async (query: Record<string, string | number | boolean>): Promise<readonly string[]> =>
        TargetPage.parse((await api.call('mary', 'rollout.targets', { params: { id }, query })).body).items.map(
          ({ device }) => device,
        );
      await proves(id, 'SRV-1', 'refused', 0, { code: 'envelope.integrity-failed' });
      expect(await list({})).toEqual([...EGMS, 'SRV-1']);
      expect(await list({ online: false })).toEqual(['EGM-3', 'EGM-4']);
      expect(await list({ service: true })).toEqual(['SRV-1']);
      expect(await list({ state: 'refused' })).toEqual(['SRV-1']);
      expect([...(await list({ wave: 0 })), ...(await list({ wave: 1 }))].sort()).toEqual([...EGMS, 'SRV-1']);
      expect(await list({ deferred: true })).toEqual([]);
      expect(await list({ old: 'gone' })).toEqual([...EGMS, 'SRV-1']);
      expect(await refusal('mary', 'rollout.targets', { params: { id }, query: { wave: 99 } })).toEqual([
        400,
        'input.invalid',
      ]);
    });

    const history = async (name: 'rollout.history' | 'device.history', call: Call): Promise<HistoryPage> =>
      HistoryPage.parse((await api.call('mary', name, call)).body);
    const targetsIn = ({ items }: HistoryPage): readonly TargetStepView[] =>
      items.flatMap((step) => (step.kind === 'target' ? [step] : []));

    test('given what became of a device, then the steps are there by rollout and by device', async () => {
      const id = await rotated();
      await proves(id, 'EGM-1', 'refused', 0, { code: 'envelope.integrity-failed' });
      const ofDevice = await history('device.history', { params: { id: 'EGM-1' } });
      expect(targetsIn(ofDevice).map(({ from, to, code, word }) => [from, to, code, word])).toEqual([
        [null, 'pending', null, null],
        ['pending', 'refused', 'envelope.integrity-failed', null],
      ]);
      const same = await history('rollout.history', { params: { id }, query: { device: 'EGM-1' } });
      expect(same).toEqual(ofDevice);
      const query = { targets: true, limit: 4 };
      const first = await history('rollout.history', { params: { id }, query });
      const rest = await history('rollout.history', {
        params: { id },
        query: { ...query, after: first.next ?? 0, limit: 9 },
      });
      expect([first.items.length, rest.items.length, rest.next]).toEqual([4, 5, null]);
      expect(await refusal('mary', 'device.history', { params: { id: 'EGM-9' } })).toEqual([404, 'device.not-found']);
      expect(await refusal('mary', 'rollout.history', { params: { id: rolloutId(9) } })).toEqual([
        404,
        'rollout.not-found',
      ]);
    });

    test('given what people did, then the history says who, with whose approval, and why', async () => {
      const id = await rotated({ reason: 'quarterly' });
      const params = { id };
      await api.call('grace', 'rollout.pause', { params, body: { reason: 'slot tournament' } });
      await approve(await api.call('grace', 'rollout.resume', { params, body: { reason: 'tournament over' } }));
      const body = { devices: ['EGM-4'], reason: 'sold' };
      await api.call('grace', 'rollout.exempt', { params, body });
      const own = await history('rollout.history', { params });
      expect(
        own.items.map((step) => (step.kind === 'rollout' ? [step.step, step.by, step.approvedBy, step.reason] : [])),
      ).toEqual([
        ['started', 'ada', ['hedy'], 'quarterly'],
        ['prepared', 'the gateway', [], null],
        ['distributing', 'the gateway', [], null],
        ['paused', 'grace', [], 'slot tournament'],
        ['resumed', 'grace', ['hedy'], 'tournament over'],
        ['exempted', 'grace', [], 'sold'],
      ]);
      const { planSha256 } = await show(id);
      expect(own.items[0]).toMatchObject({ details: { plan: 'default', planSha256 } });
      const ofDevice = targetsIn(await history('device.history', { params: { id: 'EGM-4' } }));
      expect(ofDevice.map(({ to, word }) => [to, word?.step, word?.by, word?.reason])).toEqual([
        ['pending', undefined, undefined, undefined],
        ['exempt', 'exempted', 'grace', 'sold'],
      ]);
    });
  });

  describe('what people do', () => {
    test('given a pause by one person, then it takes two to resume; neither can be done twice', async () => {
      const id = await rotated();
      const params = { id };
      const pause = { params, body: { reason: 'slot tournament' } };
      expect((await api.call('grace', 'rollout.pause', pause)).status).toBe(200);
      const paused = await show(id);
      expect(paused).toMatchObject({ pause: { by: 'grace', reason: 'slot tournament', code: 'rollout.halted' } });
      expect(paused.holds[0]).toMatchObject({ reason: 'paused' });
      expect(await refusal('grace', 'rollout.pause', pause)).toEqual([409, 'rollout.state-refused']);

      const resumed = await approve(await api.call('grace', 'rollout.resume', { params, body: {} }));
      expect(resumed.status).toBe(200);
      expect((await show(id)).pause).toBeNull();
      expect(await refusal('grace', 'rollout.resume', { params, body: {} })).toEqual([409, 'rollout.state-refused']);
    });

    test('given an abort before the activation, then the rollout has ended, and nothing more can be done with it', async () => {
      const id = await rotated();
      const call = { params: { id }, body: { reason: 'wrong plan' } };
      expect((await api.call('ada', 'rollout.abort', call)).status).toBe(200);
      const view = await show(id);
      expect(view).toMatchObject({ state: 'aborted', holds: [], hold: null });
      expect(view.finishedAt).not.toBeNull();
      for (const name of ['rollout.abort', 'rollout.pause'] as const)
        expect(await refusal('ada', name, call)).toEqual([409, 'rollout.state-refused']);
      expect(await refusal('ada', 'rollout.retry', { params: { id }, body: {} })).toEqual([
        409,
        'rollout.state-refused',
      ]);
    });

    test('given failed devices, then all or the named ones begin anew; one that has not failed is refused', async () => {
      const id = await rotated();
      const params = { id };
      for (const device of ['EGM-1', 'EGM-2']) await proves(id, device, 'refused', 0, { code: 'key.kcv-mismatch' });
      const state = async (device: string): Promise<string | undefined> => {
        const { body } = await api.call('mary', 'rollout.targets', { params });
        return TargetPage.parse(body).items.find((target) => target.device === device)?.state;
      };
      expect((await api.call('grace', 'rollout.retry', { params, body: { devices: ['EGM-1'] } })).status).toBe(200);
      expect([await state('EGM-1'), await state('EGM-2')]).toEqual(['pending', 'refused']);
      expect((await api.call('grace', 'rollout.retry', { params })).status).toBe(200);
      expect(await state('EGM-2')).toBe('pending');
      expect(await refusal('grace', 'rollout.retry', { params })).toEqual([409, 'rollout.state-refused']);
    });

    test('given a device that is exempt, then it is left out with its reason; a device of no rollout is refused', async () => {
      const id = await rotated();
      const params = { id };
      const body = { devices: ['EGM-3'], reason: 'sold' };
      expect((await api.call('grace', 'rollout.exempt', { params, body })).status).toBe(200);
      const { items } = TargetPage.parse(
        (await api.call('mary', 'rollout.targets', { params, query: { state: 'exempt' } })).body,
      );
      expect(items).toMatchObject([{ device: 'EGM-3', reason: 'sold' }]);
      const stranger = { params, body: { ...body, devices: ['EGM-5'] } };
      expect(await refusal('grace', 'rollout.exempt', stranger)).toEqual([404, 'device.not-found']);
    });

    test('given stragglers after the activation, then two people sign them off; before it nobody is one', async () => {
      const id = await rotated();
      const call = { params: { id }, body: { devices: ['EGM-3'], reason: 'in the warehouse, to be scrapped' } };
      expect(await refusal('grace', 'rollout.sign-off', call)).toEqual([409, 'rollout.state-refused']);
      for (const device of ['EGM-1', 'EGM-2', 'SRV-1']) await proves(id, device, 'stored');
      await api.settle();
      expect((await show(id)).state).toBe('active');
      expect((await approve(await api.call('grace', 'rollout.sign-off', call))).status).toBe(200);
      const { items } = TargetPage.parse(
        (await api.call('mary', 'rollout.targets', { params: { id }, query: { old: 'waived' } })).body,
      );
      expect(items.map(({ device, signedOff }) => [device, signedOff === null])).toEqual([['EGM-3', false]]);
      expect((await show(id)).progress.signedOff).toBe(1);
    });

    test('given a compromised version, then its successor goes to everybody at once; an unknown version is refused', async () => {
      const params = { name: WALLET };
      const unknown = { params, body: { version: 7, reason: 'leaked' } };
      expect(await refusal('ada', 'keyset.compromise', unknown)).toEqual([404, 'keyset.version-not-found']);
      const answer = await api.call('ada', 'keyset.compromise', { params, body: { version: 1, reason: 'leaked' } });
      expect(answer.status, answer.text).toBe(200);
      expect(await latest()).toMatchObject({ keySet: WALLET, toVersion: 2, plan: 'expedited', wave: { of: 1 } });
      const shown = KeySetDetailView.parse((await api.call('mary', 'keyset.show', { params })).body);
      expect(shown.versions[0]).toMatchObject({ version: 1, state: 'active' });
      expect(shown.versions[0]?.compromisedAt).not.toBeNull();
      expect(shown.rotation.state).toBe('under-way');
    });

    test('given a campaign of two people, then it is a rollout of its own; a second one has to wait', async () => {
      const body = { cause: 'policy', reason: 'shorter validity' };
      expect((await approve(await api.call('grace', 'enrolment.campaign', { body }))).status).toBe(200);
      await api.settle();
      const campaign = await latest();
      expect(campaign).toMatchObject({
        kind: 're-enrolment',
        keySet: null,
        fromVersion: null,
        toVersion: null,
        campaign: { cause: 'policy', selector: {}, issuer: null },
      });
      expect((await show(campaign.id)).progress.total).toBe(5);
      const second = await approve(await api.call('grace', 'enrolment.campaign', { body }));
      expect(problemIn(second).code).toBe('rollout.under-way');
      expect(await refusal('grace', 'enrolment.campaign', { body: { ...body, cause: 'whim' } })).toEqual([
        400,
        'input.invalid',
      ]);
    });
  });

  test('given key sets, then each tells where it stands in its cryptoperiod', async () => {
    const rotation = async () =>
      KeySetList.parse((await api.call('mary', 'keyset.list')).body).items.map((keySet) => keySet.rotation);
    const [before] = await rotation();
    expect(before).toMatchObject({ state: 'in-period', start: 'propose', plan: 'default' });
    expect(Date.parse(before?.endsAt ?? '') - Date.parse(before?.dueAt ?? '')).toBe(14 * 86_400_000);
    await rotated();
    expect(await rotation()).toMatchObject([{ state: 'under-way' }]);
  });
});
