/** Key sets, rollouts and trust bundles. */
import { CroupierError } from '#schema/errors.ts';
import {
  keySetDetailView,
  keySetView,
  rolloutSummaryView,
  rolloutTargetView,
  rolloutView,
  trustBundleView,
  trustSummaryView,
} from '../views/keys.ts';
import { pageFrom } from './page.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type KeyRoutes =
  | 'keyset.list'
  | 'keyset.show'
  | 'keyset.rotate'
  | 'keyset.retire'
  | 'keyset.destroy'
  | 'rollout.list'
  | 'rollout.show'
  | 'rollout.targets'
  | 'trust.list'
  | 'trust.show'
  | 'trust.publish';

export function keyHandlers({ store, submit }: HandlerPorts): Pick<DocumentHandlers, KeyRoutes> {
  return {
    'keyset.list': async () => ({ items: (await store.keySets()).map(keySetView) }),
    'keyset.show': async ({ params: { name } }) => {
      const found = await store.keySet(name);
      if (found === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${name}`);
      return keySetDetailView(found, await store.versionCounts(name));
    },
    'keyset.rotate': ({ params, body }, operator) =>
      submit(operator, 'keyset.rotate', { keySet: params.name, ...body }),
    'keyset.retire': ({ params }, operator) => submit(operator, 'keyset.retire', { rollout: params.id }),
    'keyset.destroy': ({ params }, operator) => submit(operator, 'keyset.destroy', { rollout: params.id }),

    'rollout.list': async ({ query: { open, limit } }) => ({
      items: (await store.rollouts(open, limit)).map(rolloutSummaryView),
    }),
    'rollout.show': async ({ params: { id } }) => {
      const found = await store.rollout(id);
      if (found === undefined) throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
      return rolloutView(found);
    },
    'rollout.targets': async ({ params: { id }, query: { state, after, limit } }) => {
      const states = state === undefined ? undefined : [state];
      const found = await store.rolloutTargets(id, { states, after, limit: limit + 1 });
      if (found.length === 0 && (await store.rollout(id)) === undefined) {
        throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
      }
      return pageFrom(found.map(rolloutTargetView), limit, ({ device }) => device);
    },

    'trust.list': async ({ query: { after, limit } }) => ({
      items: (await store.trustLinks(after, limit)).map(trustSummaryView),
      latest: (await store.latestTrustBundle())?.version ?? null,
    }),
    'trust.show': async ({ params: { version } }) => {
      const found = await store.trustBundle(version);
      if (found === undefined) throw new CroupierError('trust.not-found', `there is no trust bundle ${version}`);
      return trustBundleView(found);
    },
    'trust.publish': ({ body }, operator) => submit(operator, 'trust.publish', body),
  };
}
