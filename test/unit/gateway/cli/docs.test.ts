/** What the guides say is what the programs do. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { Config } from '#schema/config.ts';
import { Duration } from '#schema/parse.ts';
import { errorReference } from './error-reference.ts';
import { croupier, ROOT } from './programs.ts';

const guide = (name: string): string => readFileSync(path.join(ROOT, 'docs', name), 'utf8');

test('docs/errors.md is what the catalogue says (node test/unit/gateway/cli/error-reference.ts > docs/errors.md)', () => {
  expect(guide('errors.md')).toBe(errorReference());
});

describe('docs/configuration.md', () => {
  const REQUIRED = { realm: 'prod', operator: 'Casino', hsm: { module: 'm', token: 't', pinFile: 'p' } };
  const rows = new Map(
    [...guide('configuration.md').matchAll(/^\| `([^`]+)` \| (?:`([^`]*)`|(required)) \|/gm)].map((row) => [
      row[1] ?? '',
      row[2] ?? 'required',
    ]),
  );

  function leaves(value: unknown, prefix: string): [string, unknown][] {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[prefix, value]];
    return Object.entries(value).flatMap(([key, inner]) => leaves(inner, prefix === '' ? key : `${prefix}.${key}`));
  }

  /** Durations stand in the guide as people write them. */
  function meant(text: string, like: unknown): unknown {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' && typeof like === 'number' ? Duration.parse(value) : value;
  }

  test('it has every key, and no other', () => {
    expect([...rows.keys()].sort()).toEqual(
      leaves(Config.parse(REQUIRED), '')
        .map(([key]) => key)
        .sort(),
    );
  });

  test('its defaults are those of the schema, and what it calls required is', () => {
    const required = leaves(REQUIRED, '').map(([key]) => key);
    for (const [key, value] of leaves(Config.parse(REQUIRED), '')) {
      if (required.includes(key)) expect(rows.get(key), key).toBe('required');
      else expect(meant(rows.get(key) ?? 'null', value), key).toEqual(value);
    }
    for (const key of ['realm', 'operator', 'hsm'])
      expect(Config.safeParse({ ...REQUIRED, [key]: undefined }).success, key).toBe(false);
    for (const key of ['module', 'token', 'pinFile']) {
      expect(Config.safeParse({ ...REQUIRED, hsm: { ...REQUIRED.hsm, [key]: undefined } }).success, key).toBe(false);
    }
  });
});

describe('docs/cli.md', () => {
  /** Commands without commands below them, with their options. */
  async function commandsBelow(
    ...words: readonly string[]
  ): Promise<{ readonly words: readonly string[]; readonly options: readonly string[] }[]> {
    const { exitCode, stdout } = await croupier(...words, '--help');
    expect(exitCode).toBe(0);
    const section = (title: string): string => new RegExp(`^${title}:\\n((?: .*\\n?)+)`, 'm').exec(stdout)?.[1] ?? '';
    const names = [...section('Commands').matchAll(/^ {2}([a-z]+(?:-[a-z]+)*)\b/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => name !== 'help');
    const options = [...section('Options').matchAll(/^ {2}(?:-\w, )?(--[a-z0-9-]+)/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => name !== '--help');
    if (names.length === 0) return [{ words, options }];
    return (await Promise.all(names.map((name) => commandsBelow(...words, name)))).flat();
  }

  test('it tells of every command and every option', async () => {
    const text = guide('cli.md');
    const named = new Set(text.match(/(?<![\w-])--[a-z0-9-]+/g));
    const commands = await commandsBelow();
    expect(commands.length).toBeGreaterThan(30);
    for (const { words, options } of commands) {
      const [group = '', verb] = words;
      const told =
        text.includes(`croupier ${words.join(' ')}`) ||
        (verb !== undefined && new RegExp(`^###.*croupier ${group} .*\`${verb}\\b`, 'm').test(text));
      expect(told, words.join(' ')).toBe(true);
      for (const option of options) expect(named.has(option), `${words.join(' ')} ${option}`).toBe(true);
    }
  });
});
