/** How our programs say that they could not do it. */
import { asCroupierError, errorMessage } from '#schema/errors.ts';
import { exitCodeOf } from '#schema/exit-code.ts';

export interface Streams {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** Tells the error, as one JSON document on standard output when `json`. Returns the exit code. */
export function tellFailure(thrown: unknown, json: boolean, { stdout, stderr }: Streams): number {
  // A fault while cleaning up must not hide what went wrong before.
  const error: unknown = thrown instanceof SuppressedError ? thrown.suppressed : thrown;
  const { code, message, remedy } = asCroupierError(error, 'internal.unexpected', errorMessage(error));
  stderr(`error: ${message}\nwhat to do: ${remedy}\ncode: ${code}\n`);
  if (json) stdout(`${JSON.stringify({ error: { code, message, remedy } })}\n`);
  return exitCodeOf(code);
}
