/**
 * Statements written with drizzle, so that tables and columns are checked, and run by better-sqlite3 alone. They are
 * built once; drizzle's own prepared queries look at every parameter and column anew each time, which is most of the
 * cost of a small query.
 */
import type Database from 'better-sqlite3';
import { getTableColumns, is, Param, Placeholder } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import { CroupierError } from '#schema/errors.ts';

type Value = string | number | Uint8Array | null;
type Values = Readonly<Record<string, Value>>;

/** Any query of drizzle's builders. */
interface Query {
  toSQL(): { readonly sql: string; readonly params: readonly unknown[] };
}

/** Values in the order of the columns selected. */
export type Row = readonly unknown[];

export interface Statements {
  /** Runs a change; returns how many rows it touched. */
  change(query: Query): (values?: Values) => number;
  all<T>(query: Query, read: (row: Row) => T): (values?: Values) => readonly T[];
  first<T>(query: Query, read: (row: Row) => T): (values?: Values) => T | undefined;
}

/**
 * Hides the parameters of comparisons from the planner. SQLite (built with STAT4) plans a statement anew for every value
 * that it may have looked at, as it does in joins and sorted queries, and that costs ten times the look-up. `first`
 * needs no LIMIT for the same reason: it stops after one row.
 */
const hideParameters = (text: string): string => text.replaceAll(/([=<>]) \?/g, '$1 +?');

function slotOf(param: unknown): { readonly name: string } | { readonly value: unknown } {
  const inner = is(param, Param) ? param.value : param;
  return is(inner, Placeholder) ? { name: inner.name } : { value: inner };
}

export function statementsOn(sqlite: Database.Database): Statements {
  const compile = (query: Query) => {
    const { sql, params } = query.toSQL();
    const slots = params.map(slotOf);
    const bind = (values: Values = {}): unknown[] =>
      slots.map((slot) => ('name' in slot ? values[slot.name] : slot.value));
    return { statement: sqlite.prepare(hideParameters(sql)), bind };
  };
  return {
    change(query) {
      const { statement, bind } = compile(query);
      return (values) => statement.run(...bind(values)).changes;
    },
    all(query, read) {
      const { statement, bind } = compile(query);
      statement.raw();
      return (values) => statement.all(...bind(values)).map((row) => read(rowOf(row)));
    },
    first(query, read) {
      const { statement, bind } = compile(query);
      statement.raw();
      return (values) => {
        const row = statement.get(...bind(values));
        return row === undefined ? undefined : read(rowOf(row));
      };
    },
  };
}

function rowOf(row: unknown): Row {
  if (Array.isArray(row)) return row;
  throw new CroupierError('internal.unexpected', 'A statement did not answer with a row');
}

type Named = Readonly<Record<string, unknown>>;

/**
 * Readers for rows of `select().from(a).innerJoin(b) …`: each takes the columns of its table, by property name, out of
 * the values of all tables in order.
 */
export function layout<const Tables extends readonly SQLiteTable[]>(
  ...tables: Tables
): { readonly [Key in keyof Tables]: (row: Row) => Named };
export function layout(...tables: readonly SQLiteTable[]): readonly ((row: Row) => Named)[] {
  let start = 0;
  return tables.map((table) => {
    const names = Object.keys(getTableColumns(table));
    const from = start;
    start += names.length;
    return (row) => {
      const named: Record<string, unknown> = {};
      for (let index = 0; index < names.length; index += 1) named[names[index] ?? ''] = row[from + index];
      return named;
    };
  });
}
