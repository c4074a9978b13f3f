import { describe, expect, test } from 'vitest';
import { diffPolicies, parsePolicy } from '#gateway/operators/policy-command.ts';
import { DeviceClass } from '#schema/ids.ts';
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
    expect(lines).toContain('~ classes.egm.validity: 2592000000 -> 2678400000');
    expect(lines).toContain('- classes.sensor');
    expect(lines.some((line) => line.startsWith('+ classes.kiosk: {'))).toBe(true);
    expect(lines).toHaveLength(3);
  });

  test('before the first policy, everything is new', () => {
    expect(diffPolicies(undefined, parsePolicy(BASE)).every((line) => line.startsWith('+ '))).toBe(true);
  });
});

describe('reading a policy', () => {
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
});
