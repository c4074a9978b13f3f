/** Plans of rollouts: whatever the waves and the floor, every device has one place, and every window is right. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dryRun } from '#gateway/rollout/dry-run.ts';
import { exposure } from '#gateway/rollout/exposure.ts';
import { concerns, planFaults, planHash, type PlannedChange } from '#gateway/rollout/plan.ts';
import { assignWaves, examinePlan, waveOfLatecomer } from '#gateway/rollout/waves.ts';
import { createWindows, type WindowAt } from '#gateway/rollout/window.ts';
import { TARGET_STATES } from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import { RolloutPlan, selects, WindowPolicy, type PlannedWave } from '#schema/rollout-plan.ts';
import { after, keyRollout, MINUTE, NOON, planDevice, planTarget, policyWith } from '#test/support/plan-fixtures.ts';

const share: fc.Arbitrary<PlannedWave['share']> = fc.oneof(
  fc.double({ min: 0.1, max: 100, noNaN: true }).map((percent) => ({ by: 'percent' as const, percent })),
  fc.integer({ min: 1, max: 40 }).map((count) => ({ by: 'count' as const, count })),
  fc.constantFrom('a', 'b', 'c').map((pit) => ({ by: 'selector' as const, selector: { labels: { pit } } })),
  fc.constant({ by: 'rest' as const }),
);

const plan: fc.Arbitrary<RolloutPlan> = fc
  .record({
    shares: fc.array(share, { minLength: 1, maxLength: 6 }),
    success: fc.double({ min: 0, max: 1, noNaN: true }),
    errors: fc.double({ min: 0, max: 1, noNaN: true }),
    minimumSample: fc.integer({ min: 1, max: 20 }),
    soakMs: fc.integer({ min: 0, max: 100_000_000 }),
    windows: fc.constantFrom('respect' as const, 'ignore' as const),
    rate: fc.option(
      fc.record({ targets: fc.integer({ min: 1, max: 9 }), perMs: fc.integer({ min: 1_000, max: 99_000 }) }),
    ),
  })
  .map(({ shares, soakMs, ...rest }) =>
    RolloutPlan.parse({
      name: 'any',
      waves: shares.map((wave, index) => ({ name: `w${index}`, share: wave, soakMs })),
      quorum: 1,
      timeoutMs: 1_000,
      retries: 3,
      stragglers: { action: 'propose', afterMs: 1 },
      ...rest,
    }),
  );

const floor: fc.Arbitrary<readonly PlanDevice[]> = fc
  .array(
    fc.record({
      class: fc.constantFrom('egm', 'egm', 'egm', 'service'),
      pit: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      connected: fc.boolean(),
    }),
    { maxLength: 80 },
  )
  .map((devices) =>
    devices.map(({ pit, ...device }, index) => planDevice(`device-${index}`, { ...device, labels: { pit } })),
  );

describe('waves', () => {
  test('every device has exactly one place, the places of a wave are without gaps, services lead', () => {
    fc.assert(
      fc.property(plan, floor, fc.string(), (any, devices, seed) => {
        const places = assignWaves(any, devices, seed);
        expect(places.map(({ device }) => device).toSorted()).toEqual(devices.map(({ id }) => id).toSorted());
        any.waves.forEach((_, wave) => {
          const there = places.filter((place) => place.wave === wave).toSorted((a, b) => a.position - b.position);
          expect(there.map(({ position }) => position)).toEqual(there.map((_place, index) => index));
          const firstOther = there.findIndex(({ service }) => !service);
          if (firstOther >= 0) expect(there.slice(firstOther).some(({ service }) => service)).toBe(false);
        });
        expect(places.every(({ wave }) => wave >= 0 && wave < any.waves.length)).toBe(true);
      }),
    );
  });

  test('a selector has its devices, a service that none has is in the first wave, and latecomers join them', () => {
    fc.assert(
      fc.property(plan, floor, (any, devices) => {
        const places = new Map(assignWaves(any, devices, 'seed').map((place) => [place.device, place.wave]));
        for (const device of devices) {
          const selected = any.waves.findIndex(
            (wave) => wave.share.by === 'selector' && selects(wave.share.selector, device),
          );
          if (selected >= 0) expect(places.get(device.id)).toBe(selected);
          else if (device.class === 'service') expect(places.get(device.id)).toBe(0);
          if (selected >= 0 || device.class === 'service')
            expect(waveOfLatecomer(any, device)).toBe(places.get(device.id));
        }
      }),
    );
  });

  test('neither the order of the devices nor a second time changes anything', () => {
    fc.assert(
      fc.property(plan, floor, fc.integer(), (any, devices, shift) => {
        const turned = [...devices.slice(shift % 7), ...devices.slice(0, shift % 7)];
        expect(assignWaves(any, turned, 'seed')).toEqual(assignWaves(any, devices, 'seed'));
      }),
    );
  });

  test('a plan without errors gives every wave what it says', () => {
    fc.assert(
      fc.property(plan, floor, (any, devices) => {
        fc.pre(devices.length > 0 && examinePlan(any, devices).errors.length === 0);
        const places = assignWaves(any, devices, 'seed');
        const free = devices.filter(
          (device) =>
            device.class !== 'service' &&
            !any.waves.some(({ share: by }) => by.by === 'selector' && selects(by.selector, device)),
        );
        const isFree = new Set(free.map(({ id }) => id));
        any.waves.forEach(({ share: by }, wave) => {
          const members = places.filter((place) => place.wave === wave);
          const taken = members.filter(({ device }) => isFree.has(device)).length;
          if (by.by === 'count') expect(taken).toBe(by.count);
          if (by.by === 'percent')
            expect(taken).toBeLessThanOrEqual(Math.ceil((devices.length * by.percent) / 100) + 1);
          if (by.by === 'selector') expect(taken).toBe(0);
          if (members.length > 0) expect(members.length).toBeGreaterThanOrEqual(any.minimumSample);
        });
      }),
    );
  });

  test('a plan whose only wave takes the rest suits every floor', () => {
    fc.assert(
      fc.property(plan, floor, (any, devices) => {
        const simple: RolloutPlan = {
          ...any,
          waves: [{ name: 'all', share: { by: 'rest' }, soakMs: 0 }],
          minimumSample: 1,
        };
        expect(planFaults(simple)).toEqual([]);
        expect(examinePlan(simple, devices).errors).toEqual([]);
      }),
    );
  });
});

const CHANGE: PlannedChange = {
  kind: 'key-version',
  keySet: KeySetName.parse('wallet-kek'),
  fromVersion: KeyVersionNumber.parse(1),
  toVersion: KeyVersionNumber.parse(2),
};

describe('what is approved', () => {
  test('two plans have one hash only if they are one plan', () => {
    fc.assert(
      fc.property(plan, plan, (one, other) => {
        const same = JSON.stringify(one) === JSON.stringify(other);
        expect(planHash(CHANGE, one, {}) === planHash(CHANGE, other, {})).toBe(same);
      }),
    );
  });

  test('a plan that was stored and read again has the same hash', () => {
    fc.assert(
      fc.property(plan, (any) => {
        const read = RolloutPlan.parse(JSON.parse(JSON.stringify(any)));
        expect(planHash(CHANGE, read, {})).toBe(planHash(CHANGE, any, {}));
      }),
    );
  });

  test('the dry run shows each target once, with the places that the rollout will give it', () => {
    const policy = policyWith();
    fc.assert(
      fc.property(plan, floor, (drawn, devices) => {
        const planSha256 = planHash(CHANGE, drawn, {});
        const request = { change: CHANGE, plan: drawn, planSha256, selector: {}, devices, policy, open: [] };
        const shown = dryRun({ ...request, now: NOON, startAt: NOON });
        const places = assignWaves(
          drawn,
          devices.filter((device) => concerns(CHANGE, {}, device)),
          planSha256,
        );
        expect(
          shown.waves.flatMap(({ members }, wave) =>
            members.map(({ device }, position) => ({ device, wave, position })),
          ),
        ).toEqual(places.map(({ device, wave, position }) => ({ device, wave, position })));
        expect(shown.offline).toHaveLength(devices.filter(({ connected }) => !connected).length);
        const times = shown.waves.flatMap(({ opensAt }) => (opensAt === null ? [] : [opensAt]));
        expect(times).toEqual(times.toSorted());
        expect(JSON.parse(JSON.stringify(shown))).toEqual(shown);
      }),
    );
  });
});

const cron = fc
  .tuple(
    fc.constantFrom('0', '30', '*/20', '5,50'),
    fc.constantFrom('2', '1-3', '*', '0,23', '3,15'),
    fc.constantFrom('*', 'SAT', 'MON-FRI'),
  )
  .map(([minute, hour, weekday]) => `${minute} ${hour} * * ${weekday}`);
const zone = fc.constantFrom('UTC', 'Europe/Berlin', 'America/Los_Angeles', 'Australia/Lord_Howe', 'Asia/Kathmandu');
/** Days around the changes of the clocks of those zones in 2026, and some others. */
const moment = fc
  .tuple(
    fc.constantFrom('2026-03-07', '2026-03-28', '2026-04-04', '2026-06-01', '2026-10-03', '2026-10-24', '2026-10-31'),
    fc.integer({ min: 0, max: 3 * 86_400_000 }),
  )
  .map(([day, ms]) => new Date(new Date(`${day}T00:00:00Z`).getTime() + ms));

describe('windows', () => {
  const policy = fc
    .tuple(cron, fc.integer({ min: 1, max: 3_000 }), zone)
    .map(([expression, minutes, timeZone]) =>
      WindowPolicy.parse({ cron: expression, duration: `${minutes}m`, timeZone }),
    );
  const fresh = (window: WindowPolicy, now: Date): WindowAt => createWindows({ main: window }).at('main', now);

  test('what is remembered never differs from what is reckoned, wherever the clock steps', () => {
    fc.assert(
      fc.property(policy, fc.array(moment, { minLength: 1, maxLength: 12 }), (window, moments) => {
        const windows = createWindows({ main: window });
        for (const now of moments) expect(windows.at('main', now)).toEqual(fresh(window, now));
      }),
    );
  });

  test('an open window is open until its end and closed at it; a closed one is closed until it opens', () => {
    fc.assert(
      fc.property(policy, moment, fc.double({ min: 0, max: 0.999, noNaN: true }), (window, now, part) => {
        const found = fresh(window, now);
        const edge = found.open ? found.until : found.opensAt;
        if (edge === undefined) return;
        expect(edge.getTime()).toBeGreaterThan(now.getTime());
        const between = new Date(now.getTime() + Math.floor((edge.getTime() - now.getTime()) * part));
        expect(fresh(window, between)).toEqual(found);
        expect(fresh(window, edge).open).toBe(!found.open);
      }),
    );
  });

  test('a window that opens stays open for its duration at least', () => {
    fc.assert(
      fc.property(policy, moment, (window, now) => {
        const found = fresh(window, now);
        if (found.open || found.opensAt === undefined) return;
        const opened = fresh(window, found.opensAt);
        expect(opened.open).toBe(true);
        if (opened.open && opened.until !== undefined)
          expect(opened.until.getTime() - found.opensAt.getTime()).toBeGreaterThanOrEqual(window.duration);
      }),
    );
  });
});

describe('exposure', () => {
  test('when it says that a target opens by itself, it opens then and not before', () => {
    const nightly = WindowPolicy.parse({ cron: '0 3 * * *', duration: '2h', timeZone: 'Europe/Berlin' });
    const windows = createWindows({ main: nightly });
    fc.assert(
      fc.property(
        plan,
        fc.integer({ min: 0, max: 500 }),
        fc.integer({ min: 0, max: 2_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (any, position, minutes, part) => {
          const rollout = keyRollout(any);
          const target = planTarget('egm-1', { position });
          const device = planDevice('egm-1');
          const now = after(minutes * MINUTE);
          const found = exposure(rollout, target, device, windows, now);
          if (found.open || found.at === undefined) {
            expect(found.open).toBe(true);
            return;
          }
          expect(exposure(rollout, target, device, windows, found.at)).toEqual({ open: true });
          const before = new Date(now.getTime() + Math.floor((found.at.getTime() - now.getTime()) * part));
          expect(exposure(rollout, target, device, windows, before)).toMatchObject({ open: false, at: found.at });
        },
      ),
    );
  });

  test('a target that was begun with stays so, whatever happens to the waves', () => {
    const begun = TARGET_STATES.filter((state) => !['pending', 'exempt', 'quarantined', 'superseded'].includes(state));
    fc.assert(
      fc.property(plan, fc.constantFrom(...begun), fc.boolean(), fc.nat(50), (any, state, paused, wave) => {
        const pause = { at: NOON, by: 'hedy', code: 'rollout.halted', reason: 'looking' } as const;
        const rollout = keyRollout(any, { pause: paused ? pause : undefined });
        const closed = createWindows({ main: WindowPolicy.parse({ cron: '0 3 * * *', duration: '1m' }) });
        expect(exposure(rollout, planTarget('egm-1', { state, wave }), planDevice('egm-1'), closed, NOON)).toEqual({
          open: true,
        });
      }),
    );
  });
});
