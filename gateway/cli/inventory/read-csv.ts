/** CSV as spreadsheets and asset registers write it, with the line on which each row begins. */
import { CsvError, parse } from 'csv-parse/sync';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';

export interface CsvRow {
  /** Where the row begins; the first line is 1. */
  readonly line: number;
  readonly fields: readonly string[];
}

/** What is wrong, and on which line. */
export interface CsvFault {
  readonly line: number;
  readonly reason: string;
}

const MAX_OCTETS = 64 * 1024 * 1024;
const MAX_RECORD = 64 * 1024;
const DELIMITERS = [',', ';', '\t'] as const;

const Records = z.array(z.object({ record: z.array(z.string()), info: z.object({ lines: z.int() }) }));

/**
 * Bytes of a CSV file to its rows, blanks around fields trimmed, rows without any value left out. Accepted: UTF-8 with
 * or without byte order mark, any line break, quoted fields, comma, semicolon or tab between fields (whichever the
 * first line has most of). Errors: `input.too-large`; what cannot be read is returned as a fault.
 */
export function readCsv(content: Uint8Array, name: string): readonly CsvRow[] | CsvFault {
  if (content.length > MAX_OCTETS) {
    throw new CroupierError('input.too-large', `${name} exceeds ${MAX_OCTETS / 1024 / 1024} MiB`);
  }
  const text = decode(content);
  if (typeof text !== 'string') return text;
  let parsed: unknown;
  try {
    parsed = parse(text, {
      delimiter: delimiterOf(text),
      info: true,
      relax_column_count: true,
      skip_empty_lines: true,
      trim: true,
      max_record_size: MAX_RECORD,
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    return { line: lineOfError(error, text), reason: reasonOfError(error) };
  }
  return Records.parse(parsed)
    .map(({ record, info }) => ({ line: info.lines - breaksIn(record), fields: record }))
    .filter(({ fields }) => fields.some((field) => field !== ''));
}

/** A record is counted where it ends; it begins as many lines before as its fields hold line breaks. */
function breaksIn(fields: readonly string[]): number {
  return fields.reduce((sum, field) => sum + (field.match(/\r\n|\r|\n/g)?.length ?? 0), 0);
}

function decode(content: Uint8Array): string | CsvFault {
  if ((content[0] === 0xff && content[1] === 0xfe) || (content[0] === 0xfe && content[1] === 0xff)) {
    return { line: 1, reason: 'the file is UTF-16; export it as CSV UTF-8' };
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    return { line: lineOfBadByte(content), reason: 'this is not UTF-8; export the file as CSV UTF-8' };
  }
}

/** The line on which decoding fails first. */
function lineOfBadByte(content: Uint8Array): number {
  const loose = new TextDecoder('utf-8').decode(content);
  const upTo = loose.indexOf('\ufffd');
  return (loose.slice(0, Math.max(0, upTo)).match(/\n/g)?.length ?? 0) + 1;
}

/** What separates most fields of the header outside of quotes. */
function delimiterOf(text: string): string {
  const header = text.split(/\r\n|\r|\n/).find((line) => line.trim() !== '') ?? '';
  const bare = header.replace(/"[^"]*"/g, '');
  const count = (delimiter: string): number => bare.split(delimiter).length;
  return DELIMITERS.reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best), ',');
}

function lineOfError(error: CsvError, text: string): number {
  if (error.code === 'CSV_QUOTE_NOT_CLOSED') return lineOfOpenQuote(text);
  const { lines } = error;
  return typeof lines === 'number' ? lines : 1;
}

/** The line of the quote that has no partner: csv-parse notices it at the end of the file only. */
function lineOfOpenQuote(text: string): number {
  let line = 1;
  let opened: number | undefined;
  for (const [part] of text.matchAll(/"|\r\n|\r|\n/g)) {
    if (part !== '"') line += 1;
    else opened = opened === undefined ? line : undefined;
  }
  return opened ?? line;
}

const REASONS: Readonly<Partial<Record<CsvError['code'], string>>> = {
  CSV_QUOTE_NOT_CLOSED: 'a quoted field begins here and is not closed before the end of the file',
  CSV_MAX_RECORD_SIZE: `the row is longer than ${MAX_RECORD} characters; is a quote missing?`,
  INVALID_OPENING_QUOTE: 'a quote stands inside a field that does not begin with one; double it and quote the field',
  CSV_INVALID_CLOSING_QUOTE: 'something follows the closing quote of a field',
  CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE: 'something follows the closing quote of a field',
};

const reasonOfError = ({ code }: CsvError): string => REASONS[code] ?? `this is not CSV (${code})`;
