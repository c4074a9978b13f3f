import { describe, expect, test } from 'vitest';
import { exposure, type Exposure } from '#gateway/rollout/exposure.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { ROLLOUT_STATES, TARGET_STATES, type RolloutRecord, type RolloutTarget } from '#gateway/ports/store/records.ts';
import { TrustVersion } from '#schema/ids.ts';
import { WindowPolicy } from '#schema/rollout-plan.ts';
import {
  after,
  HOUR,
  keyRollout,
  MINUTE,
  NOON,
  planDevice,
  planOf,
  planTarget,
  trustRollout,
  type KeyVersionFields,
} from '#test/support/plan-fixtures.ts';

const PLAN = planOf({ canary: { count: 1 }, waves: [{ selector: { site: ['annex'] } }, { rest: true }] });
const EGM = planDevice('egm-1');
const ALWAYS = createWindows({});
const NIGHTLY = createWindows({ main: WindowPolicy.parse({ cron: '0 3 * * *', duration: '2h' }) });
const PAUSE = { at: NOON, by: 'hedy', code: 'rollout.halted', reason: 'looking' } as const;
const BEGUN = ['offered', 'stored', 'overdue', 'active', 'old-retired', 'old-destroyed', 'refused', 'stalled'] as const;

const shut = (why: Extract<Exposure, { open: false }>['why'], at?: Date): Exposure => ({ open: false, at, why });
const ask = (
  rollout: RolloutRecord,
  target: RolloutTarget | undefined = planTarget('egm-1'),
  windows = ALWAYS,
  now = NOON,
): Exposure => exposure(rollout, target, EGM, windows, now);

describe('by the state of the rollout', () => {
  const open = ROLLOUT_STATES.filter((state) => ask(keyRollout(PLAN, { state })).open);

  test('a key version is begun with while it is distributed and ready', () => {
    expect(open).toEqual(['distributing', 'ready']);
    expect(ask(keyRollout(PLAN, { state: 'active' }))).toEqual(shut('state'));
  });

  test('a trust bundle is still begun with while it is active', () => {
    const version = (value: number): TrustVersion => TrustVersion.parse(value);
    const states = ROLLOUT_STATES.filter((state) => ask(trustRollout(PLAN, version(1), version(2), state)).open);
    expect(states).toEqual(['distributing', 'ready', 'active']);
  });

  test('an approved one opens at its start time, if that is ahead', () => {
    expect(ask(keyRollout(PLAN, { state: 'approved', startAt: after(HOUR) }))).toEqual(shut('state', after(HOUR)));
    expect(ask(keyRollout(PLAN, { state: 'approved', startAt: NOON }))).toEqual(shut('state'));
  });
});

describe('by the state of the target', () => {
  test.each(BEGUN)('one that is %s goes on in a paused rollout, out of its wave, window and rate', (state) => {
    const plan = planOf({ canary: { count: 1 }, rate: { targets: 1 } });
    const target = planTarget('egm-1', { state, wave: 1, position: 7 });
    expect(ask(keyRollout(plan, { pause: PAUSE }), target, NIGHTLY)).toEqual({ open: true });
  });

  test.each<[RolloutTarget['state'], Exposure]>([
    ['exempt', shut('exempt')],
    ['quarantined', shut('quarantined')],
    ['superseded', shut('state')],
  ])('one that is %s is not begun with', (state, expected) => {
    expect(ask(keyRollout(PLAN), planTarget('egm-1', { state }))).toEqual(expected);
  });

  test('every state is one or the other', () => {
    expect([...BEGUN, 'exempt', 'quarantined', 'superseded', 'pending'].toSorted()).toEqual(TARGET_STATES.toSorted());
  });
});

describe('a pending target', () => {
  test.each<[string, KeyVersionFields, Partial<RolloutTarget>, Exposure]>([
    ['of the open wave is begun with', {}, {}, { open: true }],
    ['of a wave that has passed, too', { wave: 2 }, { wave: 1 }, { open: true }],
    ['of a later wave waits for it', { wave: 1 }, { wave: 2 }, shut('wave')],
    ['waits while the rollout is paused', { pause: PAUSE }, {}, shut('paused')],
    ['waits before the first wave has opened', { waveOpenedAt: undefined }, {}, shut('wave')],
  ])('%s', (_, rollout, target, expected) => {
    expect(ask(keyRollout(PLAN, rollout), planTarget('egm-1', target))).toEqual(expected);
  });
});

describe('with a rate of two a minute', () => {
  const plan = planOf({ waves: [{ count: 4 }, { rest: true }], rate: { targets: 2, per: '1m' } });

  test.each<[number, Exposure]>([
    [0, { open: true }],
    [1, { open: true }],
    [2, shut('rate', after(MINUTE))],
    [5, shut('rate', after(2 * MINUTE))],
  ])('place %i of the open wave', (position, expected) => {
    expect(ask(keyRollout(plan), planTarget('egm-1', { position }))).toEqual(expected);
  });

  test('its turn has come when the time has', () => {
    const target = planTarget('egm-1', { position: 2 });
    expect(ask(keyRollout(plan), target, ALWAYS, after(MINUTE - 1))).toEqual(shut('rate', after(MINUTE)));
    expect(ask(keyRollout(plan), target, ALWAYS, after(MINUTE))).toEqual({ open: true });
  });

  test('waves that have passed are not held by it', () => {
    expect(ask(keyRollout(plan, { wave: 1 }), planTarget('egm-1', { position: 99 }))).toEqual({ open: true });
  });

  test('time in which the window is closed does not count', () => {
    const target = planTarget('egm-1', { position: 4 });
    const late = keyRollout(plan, { waveOpenedAt: new Date('2026-06-01T04:59:00Z') });
    const turn = new Date('2026-06-02T03:01:00Z');
    const at = (now: string): Exposure => ask(late, target, NIGHTLY, new Date(now));
    expect(at('2026-06-01T04:59:10Z')).toEqual(shut('rate', turn));
    expect(at('2026-06-01T12:00:00Z')).toEqual(shut('window', turn));
    expect(at('2026-06-02T03:00:30Z')).toEqual(shut('rate', turn));
    expect(at('2026-06-02T03:01:00Z')).toEqual({ open: true });
    expect(at('2026-06-02T05:00:00Z')).toEqual(shut('window', new Date('2026-06-03T03:00:00Z')));
  });

  test('a clock that stepped back holds no target that has no turn to wait for', () => {
    expect(ask(keyRollout(plan), planTarget('egm-1'), ALWAYS, after(-HOUR))).toEqual({ open: true });
  });
});

describe('by the window of the site', () => {
  test('it waits until the window opens, and goes on within', () => {
    const opening = new Date('2026-06-02T03:00:00Z');
    expect(ask(keyRollout(PLAN), planTarget('egm-1'), NIGHTLY)).toEqual(shut('window', opening));
    expect(ask(keyRollout(PLAN), planTarget('egm-1'), NIGHTLY, opening)).toEqual({ open: true });
  });

  test('a plan that ignores windows does not wait', () => {
    expect(ask(keyRollout(planOf({ windows: 'ignore' })), planTarget('egm-1'), NIGHTLY)).toEqual({ open: true });
  });
});

describe('a device that came later', () => {
  const at = (site: string, rollout: KeyVersionFields, windows = ALWAYS): Exposure =>
    exposure(keyRollout(PLAN, rollout), undefined, planDevice('egm-9', { site }), windows, NOON);

  test('waits for the wave of its selector, or the last one', () => {
    expect(at('annex', { wave: 0 })).toEqual(shut('wave'));
    expect(at('annex', { wave: 1 })).toEqual({ open: true });
    expect(at('main', { wave: 1 })).toEqual(shut('wave'));
    expect(at('main', { wave: 2 })).toEqual({ open: true });
  });

  test('waits for its window and while the rollout is paused, but for no rate', () => {
    expect(at('main', { wave: 2 }, NIGHTLY)).toMatchObject({ open: false, why: 'window' });
    expect(at('main', { wave: 2, pause: PAUSE })).toEqual(shut('paused'));
    expect(at('main', { wave: 2, plan: { ...PLAN, rate: { targets: 1, perMs: HOUR } } })).toEqual({ open: true });
  });
});
