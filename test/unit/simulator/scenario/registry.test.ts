/** The list of scenarios, its files and its table in the guide are one. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { SCENARIOS, scenarioNamed } from '#simulator/scenario/registry.ts';

const at = (path: string): string => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));
const guide = readFileSync(at('docs/simulator.md'), 'utf8');

test('given all scenarios, then each has another name', () => {
  expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
});

test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))(
  'given the scenario %s, then it has a file of its name and a row in the guide',
  (name, { away, back, needs }) => {
    expect(existsSync(at(`simulator/scenario/${name}.ts`))).toBe(true);
    expect(guide).toContain(`| \`${name}\` | ${away} | ${back} | ${needs === 'own' ? 'its own' : 'any'} |`);
    expect(scenarioNamed(name).name).toBe(name);
  },
);

test('given a name that no scenario has, then it is refused, and those that there are are named', () => {
  expect(() => scenarioNamed('lunch')).toThrow(/there is no scenario lunch; there are missed-versions, /);
});
