/** Results for people and for programs. */
import type { Output } from '../output/terminal.ts';
import { writeTable, type Column } from '../output/table.ts';
import { isMet, readable, type BenchResult, type Target } from './result.ts';

function demand({ least, most, unit }: Target): string {
  return least === undefined ? `at most ${most} ${unit}` : `at least ${least} ${unit}`;
}

export function writeResult(output: Output, { bench, about, rows, limits, targets }: BenchResult): void {
  output.write(`\n  ${output.paint('bold', bench)}: ${about}\n\n`);
  const [first] = rows;
  if (first !== undefined) {
    const isNamed = first.change !== undefined;
    const columns: Column[] = [
      ...(isNamed ? [{ title: 'change', align: 'left' } as const] : []),
      { title: 'devices', align: 'right' },
      ...first.figures.map(({ name, unit }): Column => ({ title: `${name} [${unit}]`, align: 'right' })),
    ];
    const cells = rows.map(({ change, devices, figures }) => [
      ...(isNamed ? [change ?? ''] : []),
      String(devices),
      ...figures.map(({ value }) => readable(value)),
    ]);
    writeTable(output, columns, cells);
  }
  if (limits.length > 0) {
    output.write('\n');
    writeTable(
      output,
      [
        { title: 'limit of this machine, same run', align: 'left' },
        { title: '', align: 'right' },
        { title: '', align: 'left' },
      ],
      limits.map(({ name, value, unit }) => [name, readable(value), unit]),
    );
  }
  output.write('\n');
  for (const target of targets) {
    const verdict = isMet(target) ? output.paint('green', 'met') : output.paint('red', 'MISSED');
    output.write(`  ${verdict}: ${target.name} ${readable(target.value)} ${target.unit}, target ${demand(target)}\n`);
  }
}

/** One line of JSON. */
export function documentOf(results: readonly BenchResult[], quick: boolean): string {
  return JSON.stringify({
    quick,
    met: results.every(({ targets }) => targets.every(isMet)),
    benches: results.map(({ targets, ...rest }) => ({
      ...rest,
      targets: targets.map((target) => ({ ...target, met: isMet(target) })),
    })),
  });
}
