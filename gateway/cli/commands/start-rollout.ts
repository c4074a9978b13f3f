/** A command that starts a rollout: the plan is shown, asked for, approved by another person, and watched. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { CommandAnswer } from '#schema/api/commands.ts';
import type { ApprovalView, RolloutPlanRequest, RolloutPlanView } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId, type Sha256 } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { paintWith } from '../output/text.ts';
import { describeAsked, outcomeOf, type Asked } from './answer.ts';
import { confirm } from './confirm.ts';
import { describePlan, requireSound } from './rollout-plan.ts';
import { hasConverged, summaryOf } from './rollout-progress.ts';
import { termsOf, type TermOptions } from './rollout-terms.ts';
import { watchRollout } from './watch-rollout.ts';

export interface StartOptions extends TermOptions {
  readonly yes?: true;
  readonly wait: boolean;
}

/** What an approval of the rollout binds to, for the request. */
export interface PlannedTerms extends TermOptions {
  readonly planSha256?: Sha256;
}

export interface Start {
  readonly action: 'keyset.rotate' | 'enrolment.campaign';
  readonly change: z.input<typeof RolloutPlanRequest>['change'];
  /** Asks for it; `plan` is what was shown, undefined for who may not ask. */
  readonly submit: (api: ApiClient, terms: PlannedTerms, plan: RolloutPlanView | undefined) => Promise<CommandAnswer>;
  /** What has happened when no approval was needed, and nothing is waited for. */
  readonly begun: string;
}

const Started = z.object({ rollout: RolloutId });
const Failure = z.object({ code: z.string(), message: z.string() });
const POLL_MS = 1_000;

/** Whoever may not ask is refused by the gateway, which records it; the others see the plan first. */
async function mayAsk(api: ApiClient, action: Start['action']): Promise<boolean> {
  const permission = (await api.call('self.show', {})).permissions[action];
  return permission === 'execute' || permission === 'request';
}

/**
 * Shows the plan, asks, submits, and waits for the approval and the devices. Errors: `rollout.plan-invalid`, those of the
 * request, of its approval and of its execution.
 */
export async function startRollout(context: Context, start: Start, options: StartOptions): Promise<Outcome> {
  const { terminal } = context;
  const api = await context.connect(start.action);
  const terms = termsOf(options);
  let plan: RolloutPlanView | undefined;
  if (await mayAsk(api, start.action)) {
    plan = await api.call('rollout.plan', { body: { change: start.change, ...terms } });
    if (context.options.json === undefined) terminal.stderr(`${describePlan(plan, paintWith(terminal.colour))}\n`);
    requireSound(plan);
    if (options.yes === undefined && !(await confirm(terminal, 'ask for exactly this?', '--yes')))
      return { document: { state: 'unchanged', plan }, text: 'nothing was asked for\n' };
  }
  const planned = plan === undefined ? terms : { ...terms, planSha256: plan.planSha256 };
  const answer = await start.submit(api, planned, plan);
  if (!options.wait) return outcomeOf(answer, start.begun);
  const stop = terminal.stopSignal();
  const result = answer.state === 'done' ? answer.result : await approved(context, api, answer.approval, stop);
  if (result === undefined)
    return { document: answer, text: answer.state === 'done' ? '' : describeAsked(answer.approval) };
  const { rollout: id } = parseWith(Started, result, 'json.malformed', `answer to ${start.action}`);
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
