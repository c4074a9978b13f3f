import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { diffPolicies, parsePolicy } from '#gateway/operators/policy-command.ts';
import { DEFAULT_POLICY } from '#gateway/installation/default-policy.ts';
import { DeviceClass } from '#schema/ids.ts';
import { Duration, durationText } from '#schema/parse.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const BASE = `version: 1
classes:
  egm: { keyTypes: [EC-P256], validity: 30d }
  sensor: { keyTypes: [Ed25519], validity: 30d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared, selector: { class: [egm] } }
`;

describe('the difference of two policies', () => {
  test('nothing changes nothing', () => {
    expect(diffPolicies(parsePolicy(BASE), parsePolicy(`# with a comment\n${BASE}`))).toEqual([]);
  });

  test('what is new, gone and different is named by its path', () => {
    const after = BASE.replace(
      'validity: 30d }\n  sensor: { keyTypes: [Ed25519], validity: 30d }',
      'validity: 31d }\n  kiosk: { keyTypes: [EC-P256], validity: 1d }',
    );
    const lines = diffPolicies(parsePolicy(BASE), parsePolicy(after));
    expect(lines).toContain('~ classes.egm.validity: 30d -> 31d');
    expect(lines).toContain('- classes.sensor');
    expect(lines.some((line) => line.startsWith('+ classes.kiosk: {'))).toBe(true);
    expect(lines).toHaveLength(3);
  });

  test('before the first policy, everything is new', () => {
    expect(diffPolicies(undefined, parsePolicy(BASE)).every((line) => line.startsWith('+ '))).toBe(true);
  });
});

const DOCUMENTED = /```yaml\n(.*?)```/s.exec(readFileSync('docs/policy.md', 'utf8'))?.[1] ?? '';

describe('durations', () => {
  test.each(['0s', '250ms', '10s', '90s', '90m', '36h', '1d', '90d'])('%s is shown as it is written', (text) => {
    expect(durationText(Duration.parse(text))).toBe(text);
  });

  test('the largest unit without a fraction is taken', () => {
    expect(['60m', '24h', '1.5h', '0.5s'].map((text) => durationText(Duration.parse(text)))).toEqual([
      '1h',
      '1d',
      '90m',
      '500ms',
    ]);
  });

  test('a difference shows every duration as people write it', () => {
    const numbers = diffPolicies(undefined, parsePolicy(DOCUMENTED)).flatMap((line) => [
      ...line.matchAll(/"?([A-Za-z]+)"?: ?(\d{4,})/g),
    ]);
    expect(numbers.map(([, key]) => key)).toEqual(['maxParked']);
    expect(diffPolicies(undefined, parsePolicy(DOCUMENTED)).join('\n')).toMatch(/"cryptoperiod":"90d".*"lead":"14d"/);
  });
});

describe('reading a policy', () => {
  test('the documented one and that of a new installation are accepted', () => {
    expect(Object.keys(parsePolicy(DOCUMENTED).rollouts.plans)).toEqual(['careful']);
    expect(Object.keys(parsePolicy(DEFAULT_POLICY).keySets)).toEqual(['wallet-kek', 'report-mac']);
  });

  test.each([
    ['no YAML', 'version: [1', /not YAML/],
    ['an unknown key', `${BASE}keysets: {}\n`, /keysets/],
    ['a wrong duration', BASE.replace('30d', '30 days'), /classes\.egm\.validity/],
    ['a key set for a class that is not there', BASE.replace('class: [egm]', 'class: [pos]'), /names the class pos/],
    [
      'a key set for a class whose keys cannot receive',
      BASE.replace('class: [egm]', 'class: [sensor]'),
      /Ed25519 keys cannot receive/,
    ],
  ])('%s is refused by name', async (_, document, message) => {
    const refusal = await expectRefusal('config.invalid', () => parsePolicy(document));
    expect(refusal.message).toMatch(message);
  });

  test('defaults are filled in', () => {
    expect(parsePolicy(BASE).classes[DeviceClass.parse('egm')]).toMatchObject({ grace: 90 * 86_400_000 });
  });

  const adding = (yaml: string): string => `${BASE}${yaml}`;
  const rotating = (rotation: string): string =>
    BASE.replace(
      'selector: { class: [egm] }',
      `selector: { class: [egm] }, cryptoperiod: 20d, rotation: { ${rotation} }`,
    );
  const plan = (yaml: string): string => adding(`rollouts: { plans: { weekly: ${yaml} } }\n`);

  test.each([
    ['a rotation by a plan', `${rotating('plan: weekly, lead: 19d')}rollouts: { plans: { weekly: {} } }\n`],
    ['a rotation by the default plan', rotating('plan: default')],
    ['a wave of a class', plan('{ waves: [{ selector: { class: [egm] } }, { rest: true }] }')],
    ['a wave in which a name stands once', plan('{ canary: { count: 1 }, waves: [{ name: floor, rest: true }] }')],
    ['a window', adding('rollouts: { windows: { main: { cron: 0 3 * * *, duration: 2h, timeZone: Asia/Macau } } }\n')],
  ])('%s is accepted', (_, document) => {
    expect(() => parsePolicy(document)).not.toThrow();
  });

  test.each([
    [
      'a rotation by a plan that is not there',
      rotating('plan: weekly'),
      /keySets\.wallet-kek\.rotation\.plan: .*weekly; there is default/,
    ],
    ['a rotation that is due from the start', rotating('lead: 20d'), /keySets\.wallet-kek\.rotation\.lead: 20d/],
    [
      'a plan of a name that is taken',
      adding('rollouts: { plans: { expedited: {} } }\n'),
      /rollouts\.plans\.expedited/,
    ],
    [
      'two waves of one name',
      plan('{ canary: { count: 1 }, waves: [{ name: canary, rest: true }] }'),
      /plans\.weekly: two waves have the name canary/,
    ],
    [
      'more than all',
      plan('{ waves: [{ percent: 60 }, { percent: 60 }] }'),
      /plans\.weekly: its waves take 120 percent/,
    ],
    [
      'a wave of an unknown class',
      plan('{ waves: [{ selector: { class: [slot] } }] }'),
      /plans\.weekly: the wave wave-1 selects the class slot/,
    ],
    ['a wave without a share', plan('{ waves: [{ soak: 1h }] }'), /plans\.weekly\.waves\.0: needs exactly one of/],
    ['a rate of no time', plan('{ rate: { targets: 5, per: 0s } }'), /plans\.weekly\.rate\.per: between 1s and 1d/],
    [
      'a window of a bad time zone',
      adding('rollouts: { windows: { main: { cron: 0 3 * * *, duration: 2h, timeZone: Mars } } }\n'),
      /rollouts\.windows\.main\.timeZone/,
    ],
    [
      'a window of a bad expression',
      adding('rollouts: { windows: { main: { cron: 0 25 * * *, duration: 2h } } }\n'),
      /rollouts\.windows\.main\.cron/,
    ],
    [
      'a window of a site that cannot be',
      adding('rollouts: { windows: { Main Street: { cron: 0 3 * * *, duration: 2h } } }\n'),
      /rollouts\.windows/,
    ],
    [
      'a cryptoperiod of no time',
      BASE.replace('scope: shared', 'scope: shared, cryptoperiod: 0s'),
      /cryptoperiod: between 1m and 3660d/,
    ],
  ])('%s is refused by its key', async (_, document, message) => {
    const refusal = await expectRefusal('config.invalid', () => parsePolicy(document));
    expect(refusal.message).toMatch(message);
  });
});
