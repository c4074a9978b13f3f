/** Tables for people: aligned columns, a header, no frames. */
import { printable, widthOf, type Paint, type Style } from './text.ts';

export type Cell = string | number | undefined | { readonly text: string; readonly style: Style };

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

const GAP = '  ';

const plain = (cell: Cell): string => {
  if (cell === undefined || cell === '') return '-';
  return printable(typeof cell === 'object' ? cell.text : String(cell));
};

/** One line for the header and one for each row, each ending in a line break. Nothing is cut off. */
export function table(columns: readonly (Column | string)[], rows: readonly (readonly Cell[])[], paint: Paint): string {
  const heads = columns.map((column): Column => (typeof column === 'string' ? { title: column } : column));
  const widths = heads.map(({ title }, index) =>
    rows.reduce((width, row) => Math.max(width, widthOf(plain(row[index]))), widthOf(title)),
  );
  const line = (cells: readonly Cell[], style: Style | undefined): string => {
    const parts = heads.map(({ align }, index) => {
      const cell = cells[index];
      const text = plain(cell);
      const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(text)));
      const own = style ?? (typeof cell === 'object' ? cell.style : undefined);
      const painted = own === undefined ? text : paint(own, text);
      return align === 'right' ? padding + painted : painted + padding;
    });
    return `${parts.join(GAP).trimEnd()}\n`;
  };
  const header = line(
    heads.map(({ title }) => title),
    'bold',
  );
  return header + rows.map((row) => line(row, undefined)).join('');
}

/** What is known of one thing: `name  value` lines. */
export function facts(entries: readonly (readonly [string, Cell])[], paint: Paint): string {
  const width = entries.reduce((most, [name]) => Math.max(most, widthOf(name)), 0);
  return entries
    .map(([name, cell]) => {
      const text = plain(cell);
      const value = typeof cell === 'object' ? paint(cell.style, text) : text;
      return `${paint('dim', name)}${' '.repeat(width - widthOf(name))}${GAP}${value}\n`;
    })
    .join('');
}
