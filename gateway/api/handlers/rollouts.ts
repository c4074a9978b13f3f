/** Rollouts: their plans, their progress, and what people do with them. */
import { CroupierError } from '#schema/errors.ts';
import type { RolloutId } from '#schema/ids.ts';
import type { RolloutPlanChange } from '#schema/api/views.ts';
import { readRollout } from '../read-rollout.ts';
import { instant } from '../views/encode.ts';
import { historyStepView, rolloutPlanView, rolloutSummaryView, rolloutTargetView } from '../views/rollouts.ts';
import { pageFrom } from './page.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type RolloutRoutes =
  | 'rollout.list'
  | 'rollout.show'
  | 'rollout.targets'
  | 'rollout.history'
  | 'rollout.plan'
  | 'rollout.pause'
  | 'rollout.resume'
  | 'rollout.abort'
  | 'rollout.retry'
  | 'rollout.exempt'
  | 'rollout.sign-off'
  | 'keyset.retire'
  | 'keyset.destroy';

const missing = (id: RolloutId): CroupierError => new CroupierError('rollout.not-found', `there is no rollout ${id}`);

/** A re-enrolment is about the certificates of now, unless an earlier time is named. */
function datedChange(change: RolloutPlanChange, now: Date): RolloutPlanChange {
  return change.kind === 're-enrolment' ? { ...change, before: change.before ?? instant(now) } : change;
}

export function rolloutHandlers({
  store,
  clock,
  planRollout,
  submit,
}: HandlerPorts): Pick<DocumentHandlers, RolloutRoutes> {
  const requireRollout = async (id: RolloutId): Promise<void> => {
    if ((await store.rollout(id)) === undefined) throw missing(id);
  };

  return {
    'rollout.list': async ({ query: { open, limit } }) => ({
      items: (await store.rollouts(open, limit)).map(rolloutSummaryView),
    }),
    'rollout.show': async ({ params: { id } }) => {
      const found = await readRollout(store, id, clock.now());
      if (found === undefined) throw missing(id);
      return found;
    },
    'rollout.targets': async ({ params: { id }, query: { state, old, limit, ...filter } }) => {
      const found = await store.rolloutTargets(id, {
        ...filter,
        ...(state === undefined ? {} : { states: [state] }),
        ...(old === undefined ? {} : { old: [old] }),
        limit: limit + 1,
      });
      if (found.length === 0) await requireRollout(id);
      return pageFrom(found.map(rolloutTargetView), limit, ({ device }) => device);
    },
    'rollout.history': async ({ params: { id }, query: { targets, device, after, limit } }) => {
      const steps = targets ? 'all' : 'rollout';
      const of = device === undefined ? ({ rollout: id, steps } as const) : { rollout: id, device };
      const found = await store.history(of, after, limit + 1);
      if (found.length === 0) await requireRollout(id);
      return pageFrom(found.map(historyStepView), limit, (step) => step.id);
    },

    'rollout.plan': async ({ body: { all, ...request } }) => {
      const change = datedChange(request.change, clock.now());
      const before = change.kind === 're-enrolment' ? change.before : undefined;
      return rolloutPlanView(await planRollout({ ...request, change }), before, all);
    },
    'rollout.pause': ({ params, body }, operator) => submit(operator, 'rollout.pause', { rollout: params.id, ...body }),
    'rollout.resume': ({ params, body }, operator) =>
      submit(operator, 'rollout.resume', { rollout: params.id, ...body }),
    'rollout.abort': ({ params, body }, operator) => submit(operator, 'rollout.abort', { rollout: params.id, ...body }),
    'rollout.retry': ({ params, body }, operator) => submit(operator, 'rollout.retry', { rollout: params.id, ...body }),
    'rollout.exempt': ({ params, body }, operator) =>
      submit(operator, 'rollout.exempt', { rollout: params.id, ...body }),
    'rollout.sign-off': ({ params, body }, operator) =>
      submit(operator, 'rollout.sign-off', { rollout: params.id, ...body }),
    'keyset.retire': ({ params }, operator) => submit(operator, 'keyset.retire', { rollout: params.id }),
    'keyset.destroy': ({ params }, operator) => submit(operator, 'keyset.destroy', { rollout: params.id }),
  };
}
