/** A table for people: aligned, no frame. */
import type { Output } from './terminal.ts';

export type Align = 'left' | 'right';

export interface Column {
  readonly title: string;
  readonly align: Align;
}

export function writeTable(output: Output, columns: readonly Column[], rows: readonly (readonly string[])[]): void {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => (row[index] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, index) => {
        const cell = cells[index] ?? '';
        const width = widths[index] ?? 0;
        return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  output.write(`  ${output.paint('bold', line(columns.map(({ title }) => title)))}\n`);
  for (const row of rows) output.write(`  ${line(row)}\n`);
}
