/** Errors in a log of JSON lines (pino). */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';

/** Pino's number for `error`; `fatal` is above. */
const ERROR_LEVEL = 50;

const LogLine = z.object({ level: z.number(), msg: z.string().default('') });

export interface LogErrors {
  readonly count: number;
  /** The first of them. */
  readonly messages: readonly string[];
}

const MESSAGES_KEPT = 10;

/**
 * Lines at `error` or above, after the first `from` octets of the file, that nobody expected. What is no JSON is a crash
 * and counts too.
 */
export async function countLogErrors(
  file: string,
  from: number,
  isExpected: (message: string) => boolean = () => false,
): Promise<LogErrors> {
  let count = 0;
  const messages: string[] = [];
  for await (const line of createInterface({ input: createReadStream(file, { start: from }), crlfDelay: Infinity })) {
    const message = errorOf(line);
    if (message === undefined || isExpected(message)) continue;
    count += 1;
    if (messages.length < MESSAGES_KEPT) messages.push(message);
  }
  return { count, messages };
}

function errorOf(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return line;
  }
  const { data } = LogLine.safeParse(value);
  return data !== undefined && data.level >= ERROR_LEVEL ? data.msg : undefined;
}
