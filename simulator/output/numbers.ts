/** Numbers in options. */
import { InvalidArgumentError } from 'commander';
import { z } from 'zod';

function numberBy(schema: z.ZodType<number>, what: string): (text: string) => number {
  return (text) => {
    const { data } = schema.safeParse(text.trim() === '' ? undefined : Number(text));
    if (data === undefined) throw new InvalidArgumentError(`It is ${what}.`);
    return data;
  };
}

export const wholeNumber = (least: number, most: number): ((text: string) => number) =>
  numberBy(z.int().min(least).max(most), `a whole number from ${least} to ${most}`);

export const percentage = numberBy(z.number().min(0).max(100), 'a percentage from 0 to 100');
