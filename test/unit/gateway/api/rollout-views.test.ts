import { describe, expect, test } from 'vitest';
import {
  holdsAt,
  rolloutChanged,
  rolloutPlanView,
  rolloutSummaryView,
  rolloutView,
} from '#gateway/api/views/rollouts.ts';
import type { RolloutRecord, TargetState, TargetTally } from '#gateway/ports/store/records.ts';
import type { DryRun } from '#gateway/rollout/dry-run.ts';
import { GatewayEvent, PLANNED_NAMES, RolloutPlanView, RolloutSummaryView, RolloutView } from '#schema/api/views.ts';
import { DeviceId } from '#schema/ids.ts';
import { reEnrolment, rolloutRecord, second, trustRollout } from '#test/support/store-fixtures.ts';

const some = (targets: number, state: TargetState, over: Partial<TargetTally> = {}): TargetTally => ({
  wave: 0,
  service: false,
  state,
  online: true,
  deferred: false,
  old: 'in-use',
  targets,
  ...over,
});

const waves: RolloutRecord['plan']['waves'] = [
  { name: 'canary', share: { by: 'count', count: 1 }, soakMs: 60_000 },
  { name: 'others', share: { by: 'rest' }, soakMs: 0 },
];
const inWaves = (over: Partial<Omit<RolloutRecord, 'kind'>>): RolloutRecord => ({
  ...rolloutRecord(),
  plan: { ...rolloutRecord().plan, waves },
  ...over,
});

describe('the view of a rollout', () => {
  test('given each kind, then what it is about stands in it, and what is of other kinds is null', () => {
    const [key, trust, campaign] = [rolloutRecord(), trustRollout(), reEnrolment()].map((rollout) =>
      RolloutSummaryView.parse(rolloutSummaryView(rollout)),
    );
    expect(key).toMatchObject({
      kind: 'key-version',
      keySet: 'wallet-kek',
      fromVersion: 1,
      toVersion: 2,
      campaign: null,
    });
    expect(trust).toMatchObject({ kind: 'trust-bundle', keySet: null, fromVersion: 1, toVersion: 2, campaign: null });
    expect(campaign).toMatchObject({
      kind: 're-enrolment',
      keySet: null,
      fromVersion: null,
      toVersion: null,
      campaign: { cause: 'ca-rollover', selector: {}, issuer: 'device-ca', before: second(10).toISOString() },
    });
  });

  test('given a pause, then it is told in the view and to those who look on; without one it is null', () => {
    const pause = { at: second(20), by: 'kim', code: 'rollout.halted', reason: 'tournament' } as const;
    const paused = inWaves({ pause, wave: 1 });
    expect(rolloutSummaryView(paused).pause).toEqual({ ...pause, at: second(20).toISOString() });
    expect(GatewayEvent.parse(rolloutChanged(paused))).toMatchObject({ wave: 'others', paused: true });
    expect(rolloutSummaryView(inWaves({})).pause).toBeNull();
    expect(rolloutChanged(inWaves({}))).toMatchObject({ wave: 'canary', paused: false });
  });

  test.each([
    ['awaiting its start', { state: 'approved', waveOpenedAt: undefined }, ['to-come', 'to-come']],
    ['in its first wave', { wave: 0 }, ['open', 'to-come']],
    ['soaking', { wave: 0, waveSettledAt: second(20) }, ['soaking', 'to-come']],
    ['in its second wave', { wave: 1 }, ['passed', 'open']],
    ['ready', { wave: 1, state: 'ready' }, ['passed', 'passed']],
    ['active', { wave: 1, state: 'active', activatedAt: second(30) }, ['passed', 'passed']],
    ['aborted in its second wave', { wave: 1, state: 'aborted' }, ['passed', 'open']],
  ] as const)('given a rollout %s, then each wave says where it is', (_, over, expected) => {
    const rollout = inWaves({ waveOpenedAt: second(10), ...over });
    const { progress } = RolloutView.parse(rolloutView({ rollout, tallies: [some(2, 'stored')] }, []));
    expect(progress.waves.map(({ state }) => state)).toEqual(expected);
    expect(progress.waves.map(({ soakEndsAt }) => soakEndsAt)).toEqual(
      expected.map((state) => (state === 'soaking' ? second(80).toISOString() : null)),
    );
  });

  test('given what holds it back, then there is a hold; given nothing, then none', () => {
    const waiting = { rollout: inWaves({}), tallies: [some(1, 'offered'), some(1, 'stored')] };
    expect(holdsAt(waiting, second(20)).map(({ reason }) => reason)).toEqual(['wave-waiting']);
    expect(holdsAt({ ...waiting, tallies: [some(2, 'stored')] }, second(20))).toEqual([]);
  });
});

describe('the view of a plan', () => {
  const devices = Array.from({ length: PLANNED_NAMES + 1 }, (_, index) => DeviceId.parse(`egm-${index}`));
  const run = (count: number): DryRun => {
    const named = devices.slice(0, count);
    return {
      change: 'key-version',
      what: 'key set wallet-kek: version 2 in place of 1',
      plan: rolloutRecord().plan,
      planSha256: rolloutRecord().planSha256,
      startAt: second(10).toISOString(),
      targets: count,
      connected: 0,
      waves: [
        {
          name: 'wave-1',
          share: 'the rest',
          soakMs: 0,
          targets: count,
          connected: 0,
          services: 0,
          opensAt: null,
          beginsAt: null,
          members: named.map((device) => ({ device, connected: false, lastSeenAt: null })),
        },
      ],
      gates: [],
      offline: named.map((device) => ({ device, wave: 'wave-1', since: null })),
      leftBehind: [{ why: 'revoked', devices: named }],
      errors: [],
      warnings: [],
    };
  };

  test('given more devices than it names, then the first ones and how many; given the wish, then all', () => {
    const short = RolloutPlanView.parse(rolloutPlanView(run(PLANNED_NAMES + 1), undefined, false));
    expect(short.complete).toBe(false);
    expect([short.offline.length, short.waves[0]?.members.length]).toEqual([PLANNED_NAMES, PLANNED_NAMES]);
    expect(short.leftBehind).toMatchObject([{ count: PLANNED_NAMES + 1 }]);
    const whole = RolloutPlanView.parse(rolloutPlanView(run(PLANNED_NAMES + 1), undefined, true));
    expect([whole.complete, whole.offline.length]).toEqual([true, PLANNED_NAMES + 1]);
  });

  test('given few devices, then all are named', () => {
    expect(rolloutPlanView(run(PLANNED_NAMES), undefined, false).complete).toBe(true);
  });
});
