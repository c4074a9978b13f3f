import { describe, expect, test } from 'vitest';
import { checkWindow, createWindows, type WindowAt } from '#gateway/rollout/window.ts';
import { WindowPolicy } from '#schema/rollout-plan.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { HOUR, MINUTE } from '#test/support/plan-fixtures.ts';

const window = (cron: string, duration: string, timeZone = 'UTC'): WindowPolicy =>
  WindowPolicy.parse({ cron, duration, timeZone });
const answer = (policy: WindowPolicy, at: string): WindowAt => createWindows({ main: policy }).at('main', new Date(at));
const openUntil = (at: string): WindowAt => ({ open: true, until: new Date(at) });
const opensAt = (at: string): WindowAt => ({ open: false, opensAt: new Date(at) });

describe('a nightly window', () => {
  const nightly = window('0 3 * * *', '2h');

  test.each<[string, string, WindowAt]>([
    ['before it', '2026-06-01T02:59:59.999Z', opensAt('2026-06-01T03:00:00Z')],
    ['at its first moment', '2026-06-01T03:00:00.000Z', openUntil('2026-06-01T05:00:00Z')],
    ['at its last moment', '2026-06-01T04:59:59.999Z', openUntil('2026-06-01T05:00:00Z')],
    ['when it has ended', '2026-06-01T05:00:00.000Z', opensAt('2026-06-02T03:00:00Z')],
  ])('%s', (_, at, expected) => {
    expect(answer(nightly, at)).toEqual(expected);
  });

  test('a site without a window is always open', () => {
    expect(createWindows({ main: nightly }).at('annex', new Date('2026-06-01T12:00:00Z'))).toEqual({
      open: true,
      until: undefined,
    });
  });
});

test('a window across midnight, at the end of the week', () => {
  const weekend = window('0 22 * * SAT', '6h');
  expect(answer(weekend, '2026-06-07T03:59:00Z')).toEqual(openUntil('2026-06-07T04:00:00Z'));
  expect(answer(weekend, '2026-06-07T04:00:00Z')).toEqual(opensAt('2026-06-13T22:00:00Z'));
});

describe('windows that meet', () => {
  test('one that begins as the other ends is one with it', () => {
    expect(answer(window('0 1,3 * * *', '2h'), '2026-06-01T02:00:00Z')).toEqual(openUntil('2026-06-01T05:00:00Z'));
  });

  test('one that begins within the other makes it longer', () => {
    expect(answer(window('0 1,2 * * *', '90m'), '2026-06-01T01:10:00Z')).toEqual(openUntil('2026-06-01T03:30:00Z'));
  });

  test.each([
    ['longer than the time between them', window('0 * * * *', '2h')],
    ['exactly as long', window('0 0 * * *', '1d')],
    ['minute by minute', window('* * * * *', '1m')],
    ['longer than a day, every day', window('0 3 * * *', '7d')],
  ])('%s: always open', (_, policy) => {
    for (const at of ['2026-06-01T00:00:00Z', '2026-06-01T13:37:21.5Z', '2026-12-31T23:59:59.999Z'])
      expect(answer(policy, at)).toEqual({ open: true, until: undefined });
  });
});

describe('when the clocks change', () => {
  test.each<[string, string, string, string, WindowAt]>([
    // Berlin: 2026-03-29 02:00 CET is 03:00 CEST; 2026-10-25 03:00 CEST is 02:00 CET.
    [
      'Berlin, the night before spring',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-03-28T01:30:00Z',
      openUntil('2026-03-28T02:30:00Z'),
    ],
    [
      'Berlin, spring: 02:30 does not exist, it opens at 03:00',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-03-29T00:59:59Z',
      opensAt('2026-03-29T01:00:00Z'),
    ],
    [
      'Berlin, spring: it is an hour of elapsed time',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-03-29T01:30:00Z',
      openUntil('2026-03-29T02:00:00Z'),
    ],
    ['Berlin, summer', 'Europe/Berlin', '30 2 * * *', '2026-03-30T00:30:00Z', openUntil('2026-03-30T01:30:00Z')],
    [
      'Berlin, a list of hours loses none',
      'Europe/Berlin',
      '30 2,14 * * *',
      '2026-03-29T01:10:00Z',
      openUntil('2026-03-29T02:00:00Z'),
    ],
    [
      'Berlin, autumn: the first 02:30 opens it',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-10-25T00:45:00Z',
      openUntil('2026-10-25T01:30:00Z'),
    ],
    [
      'Berlin, autumn: the second 02:30 does not open it again',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-10-25T01:45:00Z',
      opensAt('2026-10-26T01:30:00Z'),
    ],
    // Los Angeles: 2026-03-08 02:00 PST is 03:00 PDT; 2026-11-01 02:00 PDT is 01:00 PST.
    [
      'Los Angeles, the night before spring',
      'America/Los_Angeles',
      '0 2 * * *',
      '2026-03-07T10:30:00Z',
      openUntil('2026-03-07T11:00:00Z'),
    ],
    [
      'Los Angeles, spring: 02:00 does not exist',
      'America/Los_Angeles',
      '0 2 * * *',
      '2026-03-08T10:00:00Z',
      openUntil('2026-03-08T11:00:00Z'),
    ],
    [
      'Los Angeles, summer',
      'America/Los_Angeles',
      '0 2 * * *',
      '2026-03-09T09:00:00Z',
      openUntil('2026-03-09T10:00:00Z'),
    ],
    [
      'Los Angeles, autumn: the first 01:30',
      'America/Los_Angeles',
      '30 1 * * *',
      '2026-11-01T08:30:00Z',
      openUntil('2026-11-01T09:30:00Z'),
    ],
    [
      'Los Angeles, autumn: not the second',
      'America/Los_Angeles',
      '30 1 * * *',
      '2026-11-01T09:30:00Z',
      opensAt('2026-11-02T09:30:00Z'),
    ],
  ])('%s', (_, timeZone, cron, at, expected) => {
    expect(answer(window(cron, '1h', timeZone), at)).toEqual(expected);
  });

  test('a window that spans the change is as long as ever', () => {
    const night = window('0 23 * * *', '6h', 'Europe/Berlin');
    expect(answer(night, '2026-03-29T03:30:00Z')).toEqual(openUntil('2026-03-29T04:00:00Z'));
    expect(answer(night, '2026-10-25T02:30:00Z')).toEqual(openUntil('2026-10-25T03:00:00Z'));
  });
});

describe('time in which a site is open', () => {
  const windows = createWindows({
    main: window('0 3 * * *', '2h'),
    always: window('* * * * *', '1m'),
  });
  const from = new Date('2026-06-01T04:00:00Z');

  test.each<[string, string, number, string]>([
    ['none: now, if it is open', 'main', 0, '2026-06-01T04:00:00Z'],
    ['less than is left', 'main', 59 * MINUTE, '2026-06-01T04:59:00Z'],
    ['what is left: the next window begins then', 'main', HOUR, '2026-06-02T03:00:00Z'],
    ['three windows', 'main', 4 * HOUR, '2026-06-03T04:00:00Z'],
    ['at a site that is always open by its windows', 'always', 50 * HOUR, '2026-06-03T06:00:00Z'],
    ['at a site without one', 'annex', 50 * HOUR, '2026-06-03T06:00:00Z'],
  ])('%s', (_, site, openMs, expected) => {
    expect(windows.afterOpen(site, from, openMs)).toEqual(new Date(expected));
  });

  test('from a moment at which it is closed', () => {
    expect(windows.afterOpen('main', new Date('2026-06-01T12:00:00Z'), 0)).toEqual(new Date('2026-06-02T03:00:00Z'));
  });

  test('years of windows are too far ahead', () => {
    expect(windows.afterOpen('main', from, 10_000 * HOUR)).toBeUndefined();
  });
});

describe('asking again and again', () => {
  const policy = window('0 3 * * *', '2h', 'Europe/Berlin');

  test('the clock may step back and forth', () => {
    const windows = createWindows({ main: policy });
    const base = new Date('2026-03-28T00:00:00Z').getTime();
    const offsets = [0, 26, 25, 1, 90, 3, 49, 2, 26, 72, 24, 4, 27, 200, 1.5, 26.2];
    for (const offset of offsets) {
      const now = new Date(base + offset * HOUR);
      expect(windows.at('main', now), now.toISOString()).toEqual(answer(policy, now.toISOString()));
    }
  });

  test('far more different times than are remembered are answered all the same', () => {
    const windows = createWindows({ main: policy });
    const base = new Date('2026-03-01T00:07:00Z').getTime();
    const times = Array.from({ length: 120 }, (_, index) => new Date(base + ((index * 37) % 120) * 17 * MINUTE * 20));
    for (const now of times) expect(windows.at('main', now)).toEqual(answer(policy, now.toISOString()));
  });
});

describe('what is accepted as a window', () => {
  test.each([
    ['0 3 * * *', 'Europe/Berlin'],
    ['*/15 1-5 * * MON-FRI', 'America/Los_Angeles'],
    ['0 3 L * *', 'UTC'],
    ['30 2 * * TUE#2', 'Asia/Macau'],
  ])('%s in %s', (cron, timeZone) => {
    expect(() => checkWindow('main', window(cron, '1h', timeZone))).not.toThrow();
  });

  test.each([
    ['61 3 * * *', 'UTC', /^policy: rollouts\.windows\.main\.cron: .*61/],
    ['0 3 * *', 'UTC', /windows\.main\.cron: .*five/],
    ['0 0 3 * * *', 'UTC', /windows\.main\.cron: .*5/],
    ['@daily', 'UTC', /windows\.main\.cron: five fields/],
    ['? 3 * * *', 'UTC', /windows\.main\.cron: five fields/],
    ['0 3 30 FEB *', 'UTC', /windows\.main\.cron: 0 3 30 FEB \* never comes/],
    ['0 3 * * *', 'Europe/Bielefeld', /windows\.main\.timeZone: Europe\/Bielefeld is no IANA time zone/],
    ['0 3 * * *', '', /windows\.main\.timeZone/],
  ])('%s in %s is refused by its key', async (cron, timeZone, message) => {
    const refusal = await expectRefusal('config.invalid', () => checkWindow('main', window(cron, '1h', timeZone)));
    expect(refusal.message).toMatch(message);
  });
});
