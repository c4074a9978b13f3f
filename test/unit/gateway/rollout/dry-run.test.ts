import { describe, expect, test } from 'vitest';
import { dryRun, type DryRun, type DryRunRequest } from '#gateway/rollout/dry-run.ts';
import { planHash, type PlannedChange } from '#gateway/rollout/plan.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { KeySetName, KeyVersionNumber, TrustVersion, Sha256 } from '#schema/ids.ts';
import { Selector } from '#schema/rollout-plan.ts';
import {
  after,
  DAY,
  egms,
  HOUR,
  keyRollout,
  NOON,
  planDevice,
  planOf,
  policyWith,
  type PlanDocument,
} from '#test/support/plan-fixtures.ts';

const KEY_CHANGE: PlannedChange = {
  kind: 'key-version',
  keySet: KeySetName.parse('wallet-kek'),
  fromVersion: KeyVersionNumber.parse(1),
  toVersion: KeyVersionNumber.parse(2),
};
const wallet = planDevice('wallet-1', { class: 'service' });
const NIGHTLY = { main: { cron: '0 3 * * *', duration: '2h' } };
const NEXT_NIGHT = '2026-06-02T03:00:00.000Z';

function run(document: PlanDocument, devices: readonly PlanDevice[], change: Partial<DryRunRequest> = {}): DryRun {
  const plan = planOf(document);
  const policy = change.policy ?? policyWith();
  return dryRun({
    change: KEY_CHANGE,
    plan,
    planSha256: planHash(KEY_CHANGE, plan, policy.rollouts.windows),
    selector: {},
    devices,
    policy,
    now: NOON,
    startAt: NOON,
    open: [],
    ...change,
  });
}

describe('a dry run', () => {
  test('shows who is in which wave, and is plain data', () => {
    const shown = run({ canary: { count: 2 } }, [wallet, ...egms(8)]);
    expect(shown.what).toBe('key set wallet-kek: version 2 in place of 1');
    expect(shown).toMatchObject({ targets: 9, connected: 9, errors: [], warnings: [], offline: [], leftBehind: [] });
    expect(shown.waves.map(({ name, share, targets, services }) => ({ name, share, targets, services }))).toEqual([
      { name: 'canary', share: '2', targets: 3, services: 1 },
      { name: 'wave-1', share: 'the rest', targets: 6, services: 0 },
    ]);
    expect(shown.waves[0]?.members[0]).toEqual({ device: 'wallet-1', connected: true, lastSeenAt: NOON.toISOString() });
    expect(JSON.parse(JSON.stringify(shown))).toEqual(shown);
  });

  test('names the offline ones, the longest absent first', () => {
    const away = (id: string, days: number | undefined): PlanDevice =>
      planDevice(id, { connected: false, lastSeenAt: days === undefined ? undefined : after(-days * DAY) });
    expect(run({}, [wallet, away('egm-1', 3), away('egm-2', 120), away('egm-3', undefined)]).offline).toEqual([
      { device: 'egm-3', wave: 'wave-1', since: null },
      { device: 'egm-2', wave: 'wave-1', since: after(-120 * DAY).toISOString() },
      { device: 'egm-1', wave: 'wave-1', since: after(-3 * DAY).toISOString() },
    ]);
  });

  test('names whom it leaves behind, and why', () => {
    const expired = { issuer: 'device-ca', createdAt: after(-500 * DAY), notAfter: after(-91 * DAY) };
    const shown = run(
      {},
      [
        wallet,
        planDevice('egm-1', { state: { kind: 'quarantined', code: 'report.forked' } }),
        planDevice('egm-2', { state: { kind: 'registered' }, certificate: undefined }),
        planDevice('egm-3', { certificate: undefined }),
        planDevice('egm-4', { certificate: expired }),
        planDevice('egm-5', { certificate: { ...expired, notAfter: after(-90 * DAY) } }),
        planDevice('sensor-1', { class: 'sensor' }),
        planDevice('egm-6', { site: 'annex' }),
        planDevice('egm-7', { state: { kind: 'revoked' } }),
      ],
      { selector: Selector.parse({ site: ['main'] }) },
    );
    expect(shown.targets).toBe(6);
    expect(Object.fromEntries(shown.leftBehind.map(({ why, devices }) => [why, devices]))).toEqual({
      quarantined: ['egm-1'],
      'registered and never enrolled': ['egm-2'],
      'no certificate that holds': ['egm-3'],
      'its certificate expired longer ago than the grace of its class': ['egm-4'],
      'its certificate has no key to which keys can be sealed': ['sensor-1'],
      'not in the selector': ['egm-6'],
      revoked: ['egm-7'],
    });
  });

  test('a trust bundle also reaches devices that cannot receive keys', () => {
    const change: PlannedChange = {
      kind: 'trust-bundle',
      fromVersion: TrustVersion.parse(1),
      toVersion: TrustVersion.parse(2),
      anchorsSha256: Sha256.parse('0'.repeat(64)),
    };
    const shown = run({}, [wallet, planDevice('sensor-1', { class: 'sensor' })], { change });
    expect(shown).toMatchObject({ what: 'trust bundle 2 after 1', targets: 2, leftBehind: [] });
  });

  test('a campaign passes by those whose certificate it does not replace', () => {
    const change: PlannedChange = {
      kind: 're-enrolment',
      campaign: { reason: 'ca-rollover', selector: {}, issuer: 'device-ca', before: NOON },
    };
    const renewed = { issuer: 'device-ca-2', createdAt: NOON, notAfter: after(300 * DAY) };
    const shown = run({}, [wallet, planDevice('egm-1', { certificate: renewed })], { change });
    expect(shown.waves.flatMap(({ members }) => members.map(({ device }) => device))).toEqual(['wallet-1']);
    expect(shown.leftBehind).toEqual([
      { why: 'its certificate is none that the campaign replaces', devices: ['egm-1'] },
    ]);
  });

  test('shows the faults of a plan instead of refusing it, and rollouts that are open', () => {
    const open = keyRollout(planOf({}));
    const shown = run({ canary: { count: 50 } }, egms(5), { open: [open] });
    expect(shown.errors).toEqual(['the wave canary takes 50 devices, and 5 are left for it']);
    expect(shown.warnings).toContain(`rollout ${open.id} of the same thing is open (distributing)`);
  });
});

describe('the gates, in words', () => {
  test('services first, the quorum, the waves, and what holds up the retirement', () => {
    const shown = run({ canary: { count: 2, soak: '90m' }, quorum: 0.95, minimumSample: 2 }, [wallet, ...egms(8)]);
    expect(shown.gates).toEqual([
      'wave wave-1 opens when wave canary has passed (90 % of those that took or failed it took it, at least 2 of them) and 90m have gone by',
      "it pauses when more than 10 % of a wave's executed targets failed, from 2 on",
      'activation waits until these services have stored it: wallet-1',
      'activation waits until 95 % of the reachable targets have stored it, in all waves',
      'version 1 is retired when no device uses it any more; an alert asks for the sign-off of those still behind 30d after the activation',
      'version 1 is destroyed when it is retired, no device depends on it, and two people agree',
    ]);
  });

  test('many services are counted', () => {
    const services = Array.from({ length: 13 }, (_, index) => planDevice(`svc-${index}`, { class: 'service' }));
    expect(run({}, services).gates.join('\n')).toMatch(/stored it: (?:svc-\d+, ){9}svc-\d+ and 3 more/);
  });
});

describe('the earliest times of the waves', () => {
  const times = (shown: DryRun): (string | null)[][] => shown.waves.map(({ opensAt, beginsAt }) => [opensAt, beginsAt]);

  test('soaks add up from the start time', () => {
    const startAt = after(DAY);
    const document: PlanDocument = {
      canary: { count: 1, soak: '2h' },
      waves: [{ percent: 50, soak: '4h' }, { rest: true }],
    };
    expect(times(run(document, egms(10), { startAt }))).toEqual([
      [startAt.toISOString(), startAt.toISOString()],
      [after(2 * HOUR, startAt).toISOString(), after(2 * HOUR, startAt).toISOString()],
      [after(6 * HOUR, startAt).toISOString(), after(6 * HOUR, startAt).toISOString()],
    ]);
  });

  test('a wave waits for its window, and the next one for the wave and its soak', () => {
    const policy = policyWith({ rollouts: { windows: NIGHTLY } });
    expect(times(run({ canary: { count: 1, soak: '3h' } }, egms(10), { policy }))).toEqual([
      [NOON.toISOString(), NEXT_NIGHT],
      ['2026-06-02T06:00:00.000Z', '2026-06-03T03:00:00.000Z'],
    ]);
  });

  test('windows do not count for a plan that ignores them', () => {
    const policy = policyWith({ rollouts: { windows: NIGHTLY } });
    expect(times(run({ windows: 'ignore' }, egms(3), { policy }))).toEqual([[NOON.toISOString(), NOON.toISOString()]]);
  });

  test('all that are connected and at least the sample count against the rate', () => {
    const document: PlanDocument = {
      waves: [{ count: 5 }, { rest: true }],
      minimumSample: 3,
      rate: { targets: 1, per: '1h' },
    };
    expect(times(run(document, egms(10)))[1]?.[0]).toBe(after(4 * HOUR).toISOString());
    const away = egms(10).map((device) => ({ ...device, connected: false }));
    expect(times(run(document, away))[1]?.[0]).toBe(after(2 * HOUR).toISOString());
  });

  test('a wave without targets passes at once and soaks', () => {
    const document: PlanDocument = { waves: [{ selector: { site: ['annex'] }, soak: '9h' }, { rest: true }] };
    expect(times(run(document, egms(3)))).toEqual([
      [NOON.toISOString(), null],
      [after(9 * HOUR).toISOString(), after(9 * HOUR).toISOString()],
    ]);
  });
});
