/** How a command becomes part of the command line. */
import { InvalidArgumentError, type Command } from 'commander';
import type { z } from 'zod';
import { describeIssues } from '#schema/parse.ts';
import type { Context, Outcome } from '../context.ts';

/** Wraps a command: its arguments as commander passes them, its outcome printed. */
export type Run = <Args extends readonly unknown[]>(
  body: (context: Context, ...args: Args) => Promise<Outcome>,
) => (...args: Args) => Promise<void>;

export type Register = (program: Command, run: Run) => void;

/** An option's parser made of a schema, so that a bad value is a usage error that names the option. */
export function parsedBy<Schema extends z.ZodType>(schema: Schema): (value: string) => z.output<Schema> {
  return (value) => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    throw new InvalidArgumentError(describeIssues(result.error));
  };
}

/** Collects an option that may be given several times. */
export const collect = (value: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  value,
];
