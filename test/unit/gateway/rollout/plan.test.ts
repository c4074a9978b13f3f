import { describe, expect, test } from 'vitest';
import { concerns, expedited, planFaults, planHash, resolvePlan, type PlannedChange } from '#gateway/rollout/plan.ts';
import { KeySetName, KeyVersionNumber, Sha256, TrustVersion } from '#schema/ids.ts';
import { RolloutPlan, Selector, type WindowPolicy } from '#schema/rollout-plan.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { after, DAY, HOUR, MINUTE, NOON, planDevice, planOf, policyWith } from '#test/support/plan-fixtures.ts';

const KEY_CHANGE: PlannedChange = {
  kind: 'key-version',
  keySet: KeySetName.parse('wallet-kek'),
  fromVersion: KeyVersionNumber.parse(1),
  toVersion: KeyVersionNumber.parse(2),
};
const CAMPAIGN: PlannedChange = {
  kind: 're-enrolment',
  campaign: { reason: 'ca-rollover', selector: {}, issuer: 'device-ca', before: NOON },
};

describe('resolving a plan', () => {
  test('a canary becomes the first wave, waves without a name are numbered, durations become milliseconds', () => {
    const plan = planOf({
      canary: { count: 10 },
      waves: [{ percent: 20, soak: '4h' }, { name: 'pit-b', selector: { labels: { pit: 'b' } } }, { rest: true }],
      timeout: '5m',
      rate: { targets: 100, per: '10s' },
      stragglers: { after: '14d' },
    });
    expect(plan.waves).toEqual([
      { name: 'canary', share: { by: 'count', count: 10 }, soakMs: HOUR },
      { name: 'wave-1', share: { by: 'percent', percent: 20 }, soakMs: 4 * HOUR },
      { name: 'pit-b', share: { by: 'selector', selector: { labels: { pit: 'b' } } }, soakMs: 0 },
      { name: 'wave-3', share: { by: 'rest' }, soakMs: 0 },
    ]);
    expect(plan).toMatchObject({
      name: 'weekly',
      timeoutMs: 5 * MINUTE,
      rate: { targets: 100, perMs: 10_000 },
      stragglers: { action: 'propose', afterMs: 14 * DAY },
    });
    expect(RolloutPlan.parse(JSON.parse(JSON.stringify(plan)))).toEqual(plan);
  });

  test('without a name it is the default plan, which needs no line in the policy', () => {
    expect(resolvePlan(policyWith(), undefined)).toEqual({
      name: 'default',
      waves: [{ name: 'wave-1', share: { by: 'rest' }, soakMs: 0 }],
      success: 0.9,
      errors: 0.1,
      minimumSample: 1,
      quorum: 1,
      timeoutMs: 10 * MINUTE,
      retries: 3,
      windows: 'respect',
      rate: null,
      stragglers: { action: 'propose', afterMs: 30 * DAY },
    });
  });

  test('a default plan that the policy writes down is the one that counts', () => {
    const policy = policyWith({ rollouts: { plans: { default: { retries: 7 } } } });
    expect(resolvePlan(policy, undefined).retries).toBe(7);
  });

  test.each(['monthly', 'constructor'])('a plan %s that is not there is refused with those that are', async (name) => {
    const policy = policyWith({ rollouts: { plans: { weekly: {}, careful: {} } } });
    const refusal = await expectRefusal('rollout.plan-not-found', () => resolvePlan(policy, name));
    expect(refusal.message).toBe(`there is no rollout plan ${name}; there is careful, default, weekly`);
  });

  test('the expedited form reaches everybody at once and at any hour, with the thresholds of the plan', () => {
    const plan = planOf({ canary: { count: 1 }, success: 0.8, minimumSample: 50, rate: { targets: 1 } });
    const fast = expedited(plan);
    expect(fast.waves).toEqual([{ name: 'everybody', share: { by: 'rest' }, soakMs: 0 }]);
    expect(fast).toMatchObject({ name: 'expedited', windows: 'ignore', rate: null, success: 0.8, minimumSample: 1 });
    expect(RolloutPlan.parse(fast)).toEqual(fast);
  });
});

describe('the hash that an approval binds to', () => {
  const plan = planOf({ waves: [{ percent: 10 }, { rest: true }] });
  const windows: Record<string, WindowPolicy> = { main: { cron: '0 3 * * *', duration: 2 * HOUR, timeZone: 'UTC' } };
  const reference = planHash(KEY_CHANGE, plan, windows);

  test('the same things have the same hash, whatever the order of their members', () => {
    const { name, ...rest } = plan;
    expect(planHash({ ...KEY_CHANGE }, { ...rest, name }, { ...windows })).toBe(reference);
  });

  test.each<[string, PlannedChange, RolloutPlan, Readonly<Record<string, WindowPolicy>>]>([
    ['another version', { ...KEY_CHANGE, toVersion: KeyVersionNumber.parse(3) }, plan, windows],
    ['another version before it', { ...KEY_CHANGE, fromVersion: KeyVersionNumber.parse(3) }, plan, windows],
    ['another key set', { ...KEY_CHANGE, keySet: KeySetName.parse('report-mac') }, plan, windows],
    ['a threshold', KEY_CHANGE, { ...plan, success: 0.91 }, windows],
    ['a wave', KEY_CHANGE, { ...plan, waves: plan.waves.slice(1) }, windows],
    ['a window', KEY_CHANGE, plan, { main: { cron: '0 4 * * *', duration: 2 * HOUR, timeZone: 'UTC' } }],
    ['a window more', KEY_CHANGE, plan, { ...windows, annex: { cron: '0 4 * * *', duration: HOUR, timeZone: 'UTC' } }],
  ])('%s changes it', (_, change, changedPlan, changedWindows) => {
    expect(planHash(change, changedPlan, changedWindows)).not.toBe(reference);
  });

  test('windows count only for a plan that respects them', () => {
    const deaf: RolloutPlan = { ...plan, windows: 'ignore' };
    expect(planHash(KEY_CHANGE, deaf, {})).toBe(planHash(KEY_CHANGE, deaf, windows));
    expect(planHash(KEY_CHANGE, plan, {})).not.toBe(reference);
  });

  test('what a bundle carries and what a campaign replaces are part of it', () => {
    const bundle = (digit: string): PlannedChange => ({
      kind: 'trust-bundle',
      fromVersion: TrustVersion.parse(1),
      toVersion: TrustVersion.parse(2),
      anchorsSha256: Sha256.parse(digit.repeat(64)),
    });
    expect(planHash(bundle('a'), plan, windows)).not.toBe(planHash(bundle('b'), plan, windows));
    const later: PlannedChange = { ...CAMPAIGN, campaign: { ...CAMPAIGN.campaign, before: after(1) } };
    const anyIssuer: PlannedChange = { ...CAMPAIGN, campaign: { ...CAMPAIGN.campaign, issuer: undefined } };
    expect(new Set([CAMPAIGN, later, anyIssuer].map((change) => planHash(change, plan, windows))).size).toBe(3);
  });
});

describe('whom a change concerns', () => {
  const egmOnly = Selector.parse({ class: ['egm'] });

  test.each<[string, PlannedChange, Parameters<typeof planDevice>[1], boolean]>([
    ['a device that the selector names', KEY_CHANGE, {}, true],
    ['a quarantined device', KEY_CHANGE, { state: { kind: 'quarantined', code: 'report.forked' } }, true],
    ['a device that is not enrolled yet', KEY_CHANGE, { state: { kind: 'registered' }, certificate: undefined }, false],
    ['a device that the selector does not name', KEY_CHANGE, { class: 'service' }, false],
    ['a revoked device', KEY_CHANGE, { state: { kind: 'revoked' } }, false],
    ['a device with an older certificate of the issuer', CAMPAIGN, {}, true],
    [
      'a device with a certificate of another issuer',
      CAMPAIGN,
      { certificate: { issuer: 'device-ca-2', createdAt: after(-DAY), notAfter: after(DAY) } },
      false,
    ],
    [
      'a device whose certificate is as new as the campaign',
      CAMPAIGN,
      { certificate: { issuer: 'device-ca', createdAt: NOON, notAfter: after(DAY) } },
      false,
    ],
    ['a device without a certificate', CAMPAIGN, { certificate: undefined }, false],
  ])('%s: %o', (_, change, device, expected) => {
    expect(concerns(change, egmOnly, planDevice('egm-1', device))).toBe(expected);
  });
});

describe('faults that a plan has whatever the devices', () => {
  const wave = (name: string, share: RolloutPlan['waves'][number]['share']): RolloutPlan['waves'][number] => ({
    name,
    share,
    soakMs: 0,
  });
  const base = resolvePlan(policyWith(), undefined);

  test.each<[string, RolloutPlan['waves'], readonly RegExp[]]>([
    [
      'thirds of a hundred are fine',
      [33.3, 33.3, 33.4].map((percent, index) => wave(`w${index}`, { by: 'percent', percent })),
      [],
    ],
    [
      'more than all',
      [60, 50].map((percent, index) => wave(`w${index}`, { by: 'percent', percent })),
      [/take 110 percent/],
    ],
    ['two that take the rest', [wave('a', { by: 'rest' }), wave('b', { by: 'rest' })], [/a and b both take the rest/]],
    [
      'two of one name',
      [wave('a', { by: 'count', count: 1 }), wave('a', { by: 'rest' })],
      [/two waves have the name a/],
    ],
  ])('%s', (_, waves, faults) => {
    const found = planFaults({ ...base, waves });
    expect(found).toHaveLength(faults.length);
    faults.forEach((fault, index) => expect(found[index]).toMatch(fault));
  });
});
