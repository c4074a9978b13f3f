/** Key sets and trust bundles. */
import { CroupierError } from '#schema/errors.ts';
import type { KeySetRecord } from '#gateway/ports/store/records.ts';
import { rotationsDue, type RotationStanding } from '#gateway/rollout/cryptoperiod.ts';
import { keySetDetailView, keySetView, trustBundleView, trustSummaryView } from '../views/keys.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type KeyRoutes =
  | 'keyset.list'
  | 'keyset.show'
  | 'keyset.rotate'
  | 'keyset.compromise'
  | 'trust.list'
  | 'trust.show'
  | 'trust.import'
  | 'trust.publish';

/** Open rollouts that are looked at; of a key set one at the most is on its way. */
const OPEN_ROLLOUTS = 1_000;

export function keyHandlers({ store, clock, policy, submit }: HandlerPorts): Pick<DocumentHandlers, KeyRoutes> {
  /** Each key set with its place in its cryptoperiod. */
  const withRotations = async <View>(
    keySets: readonly KeySetRecord[],
    view: (keySet: KeySetRecord, rotation: RotationStanding) => View,
  ): Promise<View[]> => {
    const open = await store.rollouts(true, OPEN_ROLLOUTS);
    const now = clock.now();
    return keySets.flatMap((keySet) =>
      rotationsDue([keySet], policy(), open, now).map((rotation) => view(keySet, rotation)),
    );
  };

  return {
    'keyset.list': async () => ({ items: await withRotations(await store.keySets(), keySetView) }),
    'keyset.show': async ({ params: { name } }) => {
      const keySet = await store.keySet(name);
      const counts = await store.versionCounts(name);
      const [found] = await withRotations(keySet === undefined ? [] : [keySet], (one, rotation) =>
        keySetDetailView(one, rotation, counts),
      );
      if (found === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${name}`);
      return found;
    },
    'keyset.rotate': ({ params, body }, operator) =>
      submit(operator, 'keyset.rotate', { keySet: params.name, ...body }),
    'keyset.compromise': ({ params, body }, operator) =>
      submit(operator, 'keyset.compromise', { keySet: params.name, ...body }),

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
    'trust.import': ({ body }, operator) => submit(operator, 'trust.import', body),
  };
}
