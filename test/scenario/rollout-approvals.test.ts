/** Who may start what by which plan: approvals that do not fit, plans that cannot be carried out. Each refusal has its twin. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ApiClient } from '#gateway/cli/client/api-client.ts';
import type { CommandAnswer } from '#schema/api/commands.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { RolloutId } from '#schema/ids.ts';
import { FLOOR_POLICY, REPORT_MAC, startCasino, WALLET, type Casino, type Founder } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { RolloutDesk, type RotationTerms } from '#test/support/rollout-desk.ts';
import { SteppingClock } from '#test/support/stepping-clock.ts';

const HOUR = 3_600_000;

/** The plans of the policy, with the soak of the careful one. */
const policyWith = (soak: string, more = ''): string => `${FLOOR_POLICY}
rollouts:
  plans:
    careful: { canary: { count: 1, soak: ${soak} } }
    overlapping:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } } }
        - { name: machines, selector: { class: [egm] } }
        - { rest: true }
    lossy: { waves: [{ name: pit-a, selector: { labels: { pit: a } } }, { name: tenth, percent: 10 }] }
    greedy: { waves: [{ name: many, count: 40 }, { rest: true }] }
    unprovable: { canary: { count: 1 }, minimumSample: 3 }
    fitting:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } } }
        - { name: one, count: 1 }
        - { rest: true }
      minimumSample: 1
${more}`;

const clock = new SteppingClock();
let casino: Casino;
let desk: RolloutDesk;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 1, kiosk: 1, service: 1 }, policy: policyWith('0s'), clock });
  desk = new RolloutDesk(casino);
  await casino.addDevices([
    { id: 'pit-a-1', class: 'egm', labels: { pit: 'a' } },
    { id: 'pit-a-2', class: 'egm', labels: { pit: 'a' } },
  ]);
  await casino.allOn();
  await casino.untilConverged();
});

afterAll(() => casino.close());

type Asked = Extract<CommandAnswer, { state: 'approval-required' }>['approval'];

const asking =
  (terms: RotationTerms, name = WALLET) =>
  (api: ApiClient): Promise<CommandAnswer> =>
    api.call('keyset.rotate', { params: { name }, body: terms });

async function ask(terms: RotationTerms, name = WALLET, founder: Founder = 'grace'): Promise<Asked> {
  const answer = await casino.as(founder, asking(terms, name));
  if (answer.state !== 'approval-required') throw new Error('a rotation needs no second person');
  return answer.approval;
}

const approve = ({ id, sha256 }: Pick<Asked, 'id' | 'sha256'>, founder: Founder = 'alan'): Promise<unknown> =>
  casino.as(founder, (api) => api.call('approval.approve', { params: { id }, body: { sha256 } }));

const approvalState = async ({ id }: Asked): Promise<string> =>
  casino.as('alan', async (api) => (await api.call('approval.show', { params: { id } })).state);

const openRollouts = async (): Promise<readonly RolloutId[]> =>
  (await casino.store.rollouts(true, 100)).filter(({ state }) => state !== 'active').map(({ id }) => id);

async function lastDenial(): Promise<{ readonly action: string; readonly code: string | undefined }> {
  const denied = (await casino.auditRecords()).filter(({ outcome }) => outcome !== 'success');
  const { action = '', code } = denied.at(-1) ?? {};
  return { action, code };
}

async function goesThrough(start: () => Promise<unknown>): Promise<void> {
  await start();
  const [latest] = await casino.store.rollouts(undefined, 1);
  if (latest === undefined) throw new Error('no rollout has begun');
  await casino.untilRollout(latest.id, 'active');
  await casino.untilConverged();
}

describe('given a rotation that was asked for', () => {
  test('when the requester, or somebody who may not, approves it, then it does not begin; when an approver does, then it does', async () => {
    const asked = await ask({ plan: 'careful' });
    await expectRefusal('operator.forbidden', () => approve(asked, 'grace'));
    expect(await lastDenial()).toMatchObject({ code: 'operator.forbidden' });
    await expectRefusal('operator.forbidden', () => approve(asked, 'ada'));
    await expectRefusal('operator.forbidden', () => ask({}, WALLET, 'alan'));
    const [digit] = asked.sha256;
    const forged = asked.sha256.replace(/^./, digit === '0' ? '1' : '0');
    await expectRefusal('approval.hash-mismatch', () =>
      casino.as('alan', (api) => api.call('approval.approve', { params: { id: asked.id }, body: { sha256: forged } })),
    );
    expect(await openRollouts()).toEqual([]);
    await goesThrough(() => approve(asked));
    await expectRefusal('approval.closed', () => approve(asked));
  });

  test('when its plan is changed before it is approved, then it has to be asked for again; a change elsewhere does not matter', async () => {
    const asked = await ask({ plan: 'careful' });
    await desk.applyPolicy(policyWith('1s'));
    await expectRefusal('rollout.plan-changed', () => approve(asked));
    expect(await approvalState(asked)).toBe('failed');
    expect(await lastDenial()).toEqual({ action: 'approval.execute', code: 'rollout.plan-changed' });
    expect(await openRollouts()).toEqual([]);

    const { planSha256 } = await desk.plan('careful');
    const again = await ask({ plan: 'careful', planSha256 });
    await desk.applyPolicy(policyWith('1s', '    other: { timeout: 5m }\n'));
    await goesThrough(() => approve(again));
    await expectRefusal('rollout.plan-changed', () => ask({ plan: 'careful', planSha256 }));
  });

  test('when windows change before it is approved, then the approval of a plan that respects them no longer fits', async () => {
    const asked = await ask({ plan: 'careful' });
    const windows = '  windows: { annex: { cron: "0 3 * * *", duration: 1h } }\n';
    await desk.applyPolicy(policyWith('0s', windows));
    await desk.applyPolicy(policyWith('1s', windows));
    await expectRefusal('rollout.plan-changed', () => approve(asked));
    await desk.applyPolicy(policyWith('0s'));
  });
});

describe('given a plan that cannot be carried out', () => {
  const CASES: readonly (readonly [string, RegExp])[] = [
    ['overlapping', /the selectors of the waves pit-a and machines both take pit-a-1 and 1 more/],
    ['lossy', /would be in no wave, .+ among them; add one with rest: true/],
    ['greedy', /the wave many takes 40 devices, and 4 are left for it/],
    ['unprovable', /the wave canary can never pass: it has 2 targets, and minimumSample is 3/],
  ];

  test.each(CASES)('when a rotation by the plan %s is asked for, then it is refused by name', async (plan, why) => {
    const refusal = await expectRefusal('rollout.plan-invalid', () => ask({ plan }));
    expect(refusal.message).toMatch(why);
    const shown = await desk.plan(plan);
    expect(shown.errors.join('; '), 'the dry run shows the same').toMatch(why);
  });

  test('when the plan fits, then the rotation is asked for and begins', async () => {
    expect((await desk.plan('fitting')).errors).toEqual([]);
    await goesThrough(async () => approve(await ask({ plan: 'fitting' })));
  });

  test('when the devices change so that it no longer fits, then the approval begins nothing', async () => {
    const asked = await ask({ plan: 'fitting' });
    for (const id of ['egm-1', 'kiosk-1', 'service-1', 'pit-a-1', 'pit-a-2'] as const)
      if (id === 'egm-1' || id === 'kiosk-1')
        await casino.as('grace', (api) =>
          api.call('device.revoke', { params: { id: casino.device(id).id }, body: { reason: 'sold' } }),
        );
    const refusal = await expectRefusal('rollout.plan-invalid', () => approve(asked));
    expect(refusal.message).toMatch(/the wave one takes 1 devices?, and 0 are left for it/);
    for (const id of ['egm-1', 'kiosk-1']) {
      await casino.release(id);
      casino.device(id).ticket = await casino.newTicket(id);
      await casino.device(id).off();
      await casino.device(id).on();
    }
    await casino.untilConverged();
    await goesThrough(async () => approve(await ask({ plan: 'fitting' })));
  });

  test('when the policy itself says what can never be, then it is not applied', async () => {
    const refuse = async (more: string, why: RegExp, code: ErrorCode = 'config.invalid'): Promise<void> => {
      const refusal = await expectRefusal(code, () => desk.applyPolicy(policyWith('0s', more)));
      expect(refusal.message).toMatch(why);
    };
    await refuse('    much: { waves: [{ percent: 60 }, { percent: 50 }] }\n', /plans\.much.*110 percent/);
    await refuse('    twice: { waves: [{ rest: true }, { rest: true }] }\n', /plans\.twice.*both take the rest/);
    await refuse('    strange: { waves: [{ selector: { class: [roulette] } }, { rest: true }] }\n', /roulette/);
    await refuse(
      '    both: { waves: [{ percent: 5, count: 5 }] }\n',
      /exactly one of percent, count, selector and rest/,
    );
    await refuse('  windows: { annex: { cron: "61 3 * * *", duration: 1h } }\n', /windows\.annex\.cron/);
    await refuse('    expedited: { timeout: 5m }\n', /expedited/);
    await desk.applyPolicy(policyWith('0s', '    right: { waves: [{ percent: 60 }, { percent: 40 }] }\n'));
    await goesThrough(() => desk.rotate({ plan: 'right' }));
  });

  test('when the plan is unknown, then the answer names those there are', async () => {
    const refusal = await expectRefusal('rollout.plan-not-found', () => ask({ plan: 'reckless' }));
    expect(refusal.message).toMatch(/there is no rollout plan reckless; there is careful, default, /);
  });
});

describe('given a rotation that waits for its approval', () => {
  test('when two were asked for and both are approved, then the second begins nothing; another key set rotates beside it', async () => {
    const first = await ask({ plan: 'careful' });
    const second = await ask({ plan: 'careful' });
    const other = await ask({ plan: 'careful' }, REPORT_MAC);
    await approve(first);
    await expectRefusal('rollout.plan-changed', () => approve(second));
    await approve(other);
    const [mac, wallet, ...more] = await casino.store.rollouts(true, 100);
    const names = [mac, wallet].map((rollout) => (rollout?.kind === 'key-version' ? rollout.keySet : undefined));
    expect(names).toEqual([REPORT_MAC, WALLET]);
    expect(more.filter(({ state }) => state !== 'active')).toEqual([]);
    for (const rollout of [mac, wallet]) if (rollout !== undefined) await casino.untilRollout(rollout.id, 'active');
    await casino.untilConverged();
  });

  test('when its start is to come, then nothing is sent before, and it says what it waits for', async () => {
    const startAt = new Date(clock.now().getTime() + 3 * HOUR);
    const id = await desk.rotate({ plan: 'careful', startAt: startAt.toISOString() });
    const { holds } = await desk.until(id, ({ preparedAt }) => preparedAt !== null);
    expect(holds).toMatchObject([{ reason: 'start-time', until: startAt.toISOString() }]);
    await casino.nudge();
    await casino.untilConverged();
    expect(new Set(Object.values(await desk.states(id)))).toEqual(new Set(['pending']));
    await expectRefusal('keyset.rotation-under-way', () => ask({}));
    clock.step(3 * HOUR);
    await casino.untilRollout(id, 'active');
    await casino.untilConverged();
    const [begun] = (await desk.records(id)).filter(({ action }) => action === 'rollout.distributing');
    expect(new Date(begun?.time ?? 0).getTime()).toBeGreaterThanOrEqual(startAt.getTime());
  });

  test('when its start is past, then it begins at once', async () => {
    await goesThrough(() => desk.rotate({ startAt: new Date(clock.now().getTime() - HOUR).toISOString() }));
  });

  test('when a day has gone by, then the approval has expired, and a new one does', async () => {
    const asked = await ask({ plan: 'careful' });
    const late = await ask({ plan: 'careful' });
    clock.step(23 * HOUR);
    await goesThrough(() => approve(asked));
    clock.step(2 * HOUR);
    await expectRefusal('approval.expired', () => approve(late));
    expect(await lastDenial()).toEqual({ action: 'approval.decide', code: 'approval.expired' });
    await goesThrough(async () => approve(await ask({ plan: 'careful' })));
  });
});

describe('given a command on a rollout that is not there or has ended', () => {
  test('when it is submitted, then it is refused by name', async () => {
    const nobody = '00000000-0000-4000-8000-000000000000' as RolloutId;
    await expectRefusal('rollout.not-found', () => desk.pause(nobody, 'why not'));
    await expectRefusal('rollout.not-found', () => desk.resume(nobody));
    await expectRefusal('rollout.not-found', () => desk.retire(nobody));
    const id = await desk.rotate();
    await desk.abort(id, 'an exercise');
    await expectRefusal('rollout.state-refused', () => desk.pause(id, 'too late'));
    await expectRefusal('rollout.state-refused', () => desk.exempt(id, 'too late', 'egm-1'));
    await expectRefusal('rollout.state-refused', () => desk.retry(id, 'egm-1'));
    await expectRefusal('rollout.state-refused', () => desk.signOff(id, 'too late', 'egm-1'));
    await expectRefusal('rollout.state-refused', () => desk.retire(id));
  });
});
