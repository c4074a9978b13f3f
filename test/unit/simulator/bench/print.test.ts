import { describe, expect, test } from 'vitest';
import { documentOf, writeResult } from '#simulator/bench/print.ts';
import type { BenchResult } from '#simulator/bench/result.ts';

const figures = [{ name: 'whole', value: 12.34, unit: 's' }];
const RESULT: BenchResult = {
  bench: 'rollout: whole',
  about: 'everybody',
  rows: [
    { change: 'rotation', devices: 500, figures },
    { change: 'retirement', devices: 500, figures },
  ],
  limits: [],
  targets: [{ name: 'rotation', value: 12.34, unit: 's', most: 10 }],
};

function printed(result: BenchResult): string {
  let text = '';
  const write = (more: string): void => void (text += more);
  writeResult({ write, live: false, columns: 80, paint: (_, word) => word }, result);
  return text;
}

describe('results for people', () => {
  test('rows that differ in what was done say what it was', () => {
    expect(printed(RESULT)).toMatch(/change +devices +whole \[s\]/);
    expect(printed(RESULT)).toMatch(/retirement +500 +12\.3/);
  });

  test('where they differ in size alone there is no such column', () => {
    const text = printed({ ...RESULT, rows: [{ devices: 500, figures }] });
    expect(text).not.toContain('change');
    expect(text).toMatch(/500 +12\.3/);
  });

  test('a benchmark without limits prints no table of them, one with limits does', () => {
    expect(printed(RESULT)).not.toContain('limit of this machine');
    expect(printed({ ...RESULT, limits: figures })).toContain('limit of this machine');
  });

  test('a target that is missed says so', () => {
    expect(printed(RESULT)).toContain('MISSED: rotation 12.3 s, target at most 10 s');
  });
});

test('results for programs say whether all targets are met', () => {
  const document: unknown = JSON.parse(documentOf([RESULT], false));
  expect(document).toMatchObject({ met: false, benches: [{ bench: 'rollout: whole', targets: [{ met: false }] }] });
});
