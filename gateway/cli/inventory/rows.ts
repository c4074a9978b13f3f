/** The inventory as an asset register exports it: CSV with a header row. All rows are good, or none is taken. */
import { CroupierError } from '#schema/errors.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { readCsv, type CsvFault, type CsvRow } from './read-csv.ts';

export interface InventoryOptions {
  /** How messages name the file. */
  readonly name: string;
  /** Device classes of the policy in force; undefined when they are not known. */
  readonly classes: readonly string[] | undefined;
}

/** Most rows of one import (schema/api/commands.ts). */
const MAX_ROWS = 100_000;
/** So many faults are listed; of the others only the number. */
const LISTED = 20;

const REQUIRED = ['id', 'class', 'site', 'serial'] as const;

/**
 * Bytes of a CSV file to inventory rows. Columns stand in any order. Columns other than id, class, site and
 * serial are labels; an empty field is no label. Errors: `inventory.invalid`, naming up to 20 lines with their reasons;
 * `input.too-large`.
 */
export function parseInventoryCsv(content: Uint8Array, options: InventoryOptions): InventoryRow[] {
  const records = readCsv(content, options.name);
  if ('reason' in records) throw refusal(options.name, [records]);
  const [header, ...body] = records;
  if (header === undefined) throw refusal(options.name, [{ line: 1, reason: 'the file is empty' }]);
  const columns = columnsOf(header, body, options.name);
  if (body.length === 0) throw refusal(options.name, [{ line: header.line, reason: 'there is a header but no row' }]);
  if (body.length > MAX_ROWS) {
    throw new CroupierError(
      'input.too-large',
      `${options.name} has ${body.length} rows; import at most ${MAX_ROWS} at once`,
    );
  }
  const faults: CsvFault[] = [];
  const rows: InventoryRow[] = [];
  const lineOf = new Map<string, number>();
  for (const record of body) {
    const { row, reason } = rowOf(record, columns, options.classes);
    const first = row === undefined ? undefined : lineOf.get(row.id);
    if (row === undefined) faults.push({ line: record.line, reason });
    else if (first !== undefined)
      faults.push({ line: record.line, reason: `device ${row.id} is on line ${first} already` });
    else {
      lineOf.set(row.id, record.line);
      rows.push(row);
    }
  }
  if (faults.length > 0) throw refusal(options.name, faults);
  return rows;
}

function refusal(name: string, faults: readonly CsvFault[]): CroupierError {
  const listed = faults.slice(0, LISTED).map(({ line, reason }) => `line ${line}: ${reason}`);
  const rest = faults.length - listed.length;
  const tail = rest === 0 ? [] : [`and ${rest} more`];
  const what = faults.length === 1 ? 'one line' : `${faults.length} lines`;
  return new CroupierError(
    'inventory.invalid',
    [`${name} cannot be imported because of ${what}; nothing was imported`, ...listed, ...tail].join('\n  '),
    { detail: { faults: listed, count: faults.length } },
  );
}

/** What each column is; undefined for one without a name and without values. */
type Columns = readonly (string | undefined)[];

/** `Asset Tag` becomes `asset-tag`: a name that a selector can use. */
const columnName = (title: string): string => title.toLowerCase().replace(/[\s_]+/g, '-');

function columnsOf(header: CsvRow, body: readonly CsvRow[], file: string): Columns {
  const { line, fields } = header;
  const columns = fields.map((title) => (title === '' ? undefined : columnName(title)));
  const fault = (reason: string): CroupierError => refusal(file, [{ line, reason }]);
  const missing = REQUIRED.filter((name) => !columns.includes(name));
  if (missing.length > 0) {
    const found = fields.map((title) => `"${title.slice(0, 40)}"`).join(', ');
    const what = missing.length === 1 ? `the column ${missing[0]} is` : `the columns ${missing.join(', ')} are`;
    throw fault(`${what} missing; the header row has ${found.slice(0, 400)}`);
  }
  for (const [index, name] of columns.entries()) {
    if (name === undefined) {
      const used = body.find(({ fields: row }) => (row[index] ?? '') !== '');
      if (used !== undefined) throw fault(`column ${index + 1} has no name, but line ${used.line} has a value in it`);
    } else if (columns.indexOf(name) !== index) throw fault(`the column ${name} is there twice`);
    else if (!isRequired(name) && !InventoryRow.shape.labels.keyType.safeParse(name).success) {
      throw fault(
        `"${(fields[index] ?? '').slice(0, 40)}" cannot be the name of a label: use letters, digits and hyphens, a letter first`,
      );
    }
  }
  return columns;
}

const isRequired = (name: string): boolean => REQUIRED.some((required) => required === name);

type RowOutcome =
  | { readonly row: InventoryRow; readonly reason: '' }
  | { readonly row: undefined; readonly reason: string };

function rowOf({ fields }: CsvRow, columns: Columns, classes: readonly string[] | undefined): RowOutcome {
  const refuse = (reason: string): RowOutcome => ({ row: undefined, reason });
  if (fields.length > columns.length && fields.slice(columns.length).some((field) => field !== '')) {
    return refuse(`it has ${fields.length} fields, the header row ${columns.length}`);
  }
  const value: Record<string, string> = {};
  const labels: Record<string, string> = {};
  for (const [index, name] of columns.entries()) {
    const field = fields[index] ?? '';
    if (name === undefined) continue;
    if (isRequired(name)) value[name] = field;
    else if (field !== '') labels[name] = field;
  }
  const empty = REQUIRED.filter((name) => value[name] === '');
  const result = InventoryRow.safeParse({ ...value, labels });
  if (!result.success) {
    const wrong = result.error.issues.filter(({ path }) => !empty.some((name) => name === path[0]));
    const reasons = wrong.map(({ path, message }) => `${path.join('.')}: ${message}${quoted(value, path[0])}`);
    if (empty.length > 0) reasons.unshift(`${empty.join(' and ')} ${empty.length === 1 ? 'is' : 'are'} empty`);
    return refuse(reasons.join('; '));
  }
  if (classes !== undefined && !classes.includes(result.data.class)) {
    return refuse(`class: ${result.data.class} is not in the policy, which has ${classes.join(', ')}`);
  }
  return { row: result.data, reason: '' };
}

function quoted(value: Readonly<Record<string, string>>, name: PropertyKey | undefined): string {
  const text = typeof name === 'string' ? value[name] : undefined;
  return text === undefined ? '' : ` ("${text.slice(0, 70)}")`;
}
