/** Asking an agent over its socket: what `croupier-agent status` does, and any Node application may do. */
import { request as httpRequest } from 'node:http';
import { z } from 'zod';
import { CroupierError, errorMessage, isErrorCode } from '#schema/errors.ts';

const MAX_ANSWER = 4 * 1024 * 1024;
const Problem = z.looseObject({ code: z.string(), detail: z.string() });

export interface LocalReply {
  readonly status: number;
  readonly document: unknown;
}

/**
 * One request; the answer's JSON, parsed but not validated. `accept` lists statuses that are answers, not errors.
 * Errors: the agent's own (by its code), `agent.not-running`, `network.timeout`, `json.malformed`, `input.too-large`.
 */
export async function askAgent(
  socketPath: string,
  target: string,
  {
    method = 'GET',
    body,
    accept = [200],
    timeoutMs = 5_000,
  }: { method?: string; body?: object; accept?: readonly number[]; timeoutMs?: number } = {},
): Promise<LocalReply> {
  const { status, text } = await exchange(socketPath, target, method, body, timeoutMs);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new CroupierError(
      'json.malformed',
      `the answer to ${method} ${target} on ${socketPath} is not JSON; is it an agent's socket?`,
    );
  }
  if (accept.includes(status)) return { status, document };
  const problem = Problem.safeParse(document);
  const code = problem.success && isErrorCode(problem.data.code) ? problem.data.code : 'internal.unexpected';
  throw new CroupierError(
    code,
    problem.success ? problem.data.detail : `the agent answered ${method} ${target} with status ${status}`,
  );
}

function exchange(
  socketPath: string,
  path: string,
  method: string,
  body: object | undefined,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path, method, timeout: timeoutMs, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER)
          request.destroy(new CroupierError('input.too-large', 'the answer of the agent is too large'));
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.once('error', (error) => reject(asAskError(error, socketPath)));
    });
    request.once('timeout', () =>
      request.destroy(new CroupierError('network.timeout', `the agent on ${socketPath} did not answer in time`)),
    );
    request.once('error', (error) => reject(asAskError(error, socketPath)));
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function asAskError(error: Error, socketPath: string): CroupierError {
  if (error instanceof CroupierError) return error;
  return new CroupierError('agent.not-running', `no agent answers on ${socketPath}: ${errorMessage(error)}`, {
    cause: error,
  });
}
