import { CommanderError } from 'commander';
import { describe, expect, test } from 'vitest';
import { benchCommand, type BenchOptions } from '#simulator/bench/options.ts';

function parse(...args: readonly string[]): BenchOptions {
  const command = benchCommand().configureOutput({ writeErr: () => undefined });
  command.parse([...args], { from: 'user' });
  return command.opts<BenchOptions>();
}

describe('options of the benchmarks', () => {
  test('a part of rollout and the size of its floor can be named', () => {
    const options = parse('rollout', '--part', 'absence', '--devices', '500');
    expect(options).toMatchObject({ part: 'absence', devices: 500, json: false, quick: false });
  });

  test('without them all parts run at their usual size', () => {
    const { part, devices, sizes } = parse('rollout');
    expect([part, devices, sizes]).toEqual([undefined, undefined, undefined]);
  });

  test.each([
    ['a part that there is not', ['rollout', '--part', 'half']],
    ['a floor too small for every class', ['rollout', '--devices', '19']],
    ['a floor of half a device', ['rollout', '--devices', '20.5']],
    ['sizes that do not rise', ['rollout', '--sizes', '1000,1000']],
    ['a benchmark that there is not', ['drain']],
  ])('%s is refused', (_, args) => {
    expect(() => parse(...args)).toThrow(CommanderError);
  });
});
