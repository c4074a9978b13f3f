/** Runs `bin/croupier`, as a person would, and reads what it answers. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CroupierError, isErrorCode } from '#schema/errors.ts';
import { parseJson } from '#schema/parse.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/croupier', import.meta.url));

/** What `croupier --json` prints when it fails. */
const Failure = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/** The launcher and its arguments as one would type them. */
export const commandLine = (args: readonly string[]): string => `bin/croupier ${args.join(' ')}`;

/**
 * A process group of its own: what the terminal sends to this process does not reach it, so that whoever started it
 * also decides when it ends.
 */
export function spawnCroupier(args: readonly string[], stderr: number | 'pipe'): ChildProcess {
  return spawn(LAUNCHER, args, { stdio: ['ignore', 'pipe', stderr], detached: true });
}

/** The fault that a line of standard output names, if it names one. */
export function failureOf(text: string): CroupierError | undefined {
  const line = text.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{"error"')) return undefined;
  const { error } = parseJson(Failure, line, 'json.malformed', 'answer of croupier');
  return isErrorCode(error.code)
    ? new CroupierError(error.code, error.message)
    : new CroupierError('internal.unexpected', `${error.code}: ${error.message}`);
}

const STDERR_KEPT = 4_000;

/**
 * Runs one command with `--json` and returns its document. Errors: the one that the command names, else
 * `internal.unexpected` with the end of its standard error.
 */
export async function runCroupier<Schema extends z.ZodType>(
  args: readonly string[],
  schema: Schema,
): Promise<z.infer<Schema>> {
  const child = spawnCroupier(['--json', ...args], 'pipe');
  const stop = (): void => void child.kill();
  process.once('exit', stop);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-STDERR_KEPT)));
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject).once('close', resolve);
  let code: number | null;
  try {
    code = await promise;
  } catch (error) {
    throw new CroupierError('internal.unexpected', `${commandLine(args)} cannot be started`, { cause: error });
  } finally {
    process.off('exit', stop);
  }
  const failure = failureOf(stdout);
  if (failure !== undefined) throw failure;
  if (code !== 0) {
    throw new CroupierError(
      'internal.unexpected',
      `${commandLine(args)} ended with ${code ?? 'a signal'}: ${stderr.trim()}`,
    );
  }
  return parseJson(schema, stdout, 'json.malformed', `answer to ${commandLine(args)}`);
}
