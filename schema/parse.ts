/** From `unknown` to a type: one way to run a zod schema and to say what is wrong. */
import { z } from 'zod';
import { CroupierError, type ErrorCode } from './errors.ts';

/** First few faults of a zod error as `path: message`, without the values themselves. */
export function describeIssues(error: z.ZodError): string {
  const issues = error.issues.slice(0, 5).map((issue) => {
    const path = issue.path.map(String).join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  return issues.join('; ');
}

/** Parses `value` or throws `code` with the faults named. `what` names the thing in the message. */
export function parseWith<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  code: ErrorCode,
  what: string,
): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new CroupierError(code, `${what}: ${describeIssues(result.error)}`, { cause: result.error });
}

/** JSON text to a type. The text itself never reaches the message. */
export function parseJson<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  code: ErrorCode,
  what: string,
): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new CroupierError(code, `${what}: it is not JSON`);
  }
  return parseWith(schema, value, code, what);
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A duration as people write it (`90d`, `12h`, `30s`), in milliseconds. */
export const Duration = z.string().transform((text, context) => {
  const match = DURATION.exec(text);
  const unit = UNIT[match?.[2] ?? ''];
  if (match === null || unit === undefined) {
    context.addIssue({ code: 'custom', message: 'not a duration such as 90d, 12h, 30m or 10s' });
    return z.NEVER;
  }
  return Number(match[1]) * unit;
});

/** A duration in milliseconds as people write it, in the largest unit that needs no fraction. */
export function durationText(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const count = ms / (UNIT[unit] ?? 1);
    if (ms !== 0 && Number.isInteger(count)) return `${count}${unit}`;
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}
