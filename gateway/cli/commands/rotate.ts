/** `croupier rotate`: asks for the next version of a key set, waits for the approval, then for the devices. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId } from '#schema/ids.ts';
import type { ApprovalView } from '#schema/api/views.ts';
import { parseWith } from '#schema/parse.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { describeAsked, outcomeOf, type Asked } from './answer.ts';
import type { Register } from './registration.ts';
import { hasConverged, summaryOf } from './rollout-progress.ts';
import { watchRollout } from './watch-rollout.ts';

interface RotateOptions {
  readonly reason?: string;
  readonly wait: boolean;
}

const Started = z.object({ rollout: RolloutId });
const Failure = z.object({ code: z.string(), message: z.string() });
const POLL_MS = 1_000;

export const registerRotate: Register = (program, run) => {
  program
    .command('rotate')
    .argument('<keyset>')
    .option('--reason <text>', 'stands in the request that is approved')
    .option('--no-wait', 'ask and return, without waiting for approval and devices')
    .description('make the next version of a key set and bring it to its devices (needs an approval)')
    .action(run((context, name: string, options: RotateOptions) => rotate(context, name, options)));
};

async function rotate(context: Context, name: string, { reason, wait }: RotateOptions): Promise<Outcome> {
  const api = await context.connect('keyset.rotate');
  const answer = await api.call('keyset.rotate', { params: { name }, body: reason === undefined ? {} : { reason } });
  if (!wait) return outcomeOf(answer, `the rotation of ${name} has begun\n`);
  const stop = context.terminal.stopSignal();
  const result = answer.state === 'done' ? answer.result : await approved(context, api, answer.approval, stop);
  if (result === undefined)
    return { document: answer, text: answer.state === 'done' ? '' : describeAsked(answer.approval) };
  const { rollout: id } = parseWith(Started, result, 'json.malformed', 'answer to keyset.rotate');
  const document = await watchRollout(context, id, hasConverged, stop);
  const rest = hasConverged(document) ? '' : `the rollout goes on; see croupier rollout watch ${id}\n`;
  return { document, text: summaryOf(document) + rest };
}

/** What came of the request once it was approved; undefined when the waiting was ended. Errors: those of the execution, `approval.*`. */
async function approved(
  context: Context,
  api: ApiClient,
  asked: Asked,
  stop: AbortSignal,
): Promise<ApprovalView['result'] | undefined> {
  context.terminal.stderr(`${describeAsked(asked)}waiting for the approval; the request stays when this ends\n`);
  while (!stop.aborted) {
    const approval = await api.call('approval.show', { params: { id: asked.id } });
    switch (approval.state) {
      case 'executed':
        context.terminal.stderr(`approved by ${approval.approver ?? 'somebody'}\n`);
        return approval.result;
      case 'failed': {
        const failure = Failure.safeParse(approval.result).data;
        throw new CroupierError(
          'approval.closed',
          `the request was approved, but could not be done: ${failure?.message ?? 'see croupier approval show'}`,
        );
      }
      case 'refused':
        throw new CroupierError('approval.closed', `${approval.approver ?? 'an approver'} refused the request`);
      case 'expired':
        throw new CroupierError('approval.expired', `nobody decided the request until ${approval.expiresAt}`);
      case 'pending':
      case 'approved':
        await sleep(POLL_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  }
  return undefined;
}
