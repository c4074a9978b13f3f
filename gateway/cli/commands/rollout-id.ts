/** How people name a rollout. */
import { CroupierError } from '#schema/errors.ts';
import { RolloutId } from '#schema/ids.ts';
import type { ApiClient } from '../client/api-client.ts';
import { countOf } from '../output/text.ts';
import { PAGE } from './pages.ts';

export const NAMED_ROLLOUT = 'id of the rollout, its beginning, or a key set, trust or campaign for the latest';

/** Errors: `rollout.not-found`, `input.invalid` when several begin like that. */
export async function rolloutId(api: ApiClient, wanted: string): Promise<string> {
  if (RolloutId.safeParse(wanted).success) return wanted;
  const { items } = await api.call('rollout.list', { query: { limit: PAGE } });
  const latest =
    items.find(({ keySet }) => keySet === wanted) ??
    items.find(
      ({ kind }) =>
        (wanted === 'trust' && kind === 'trust-bundle') || (wanted === 'campaign' && kind === 're-enrolment'),
    );
  if (latest !== undefined) return latest.id;
  const found = items.filter(({ id }) => id.startsWith(wanted));
  const [only, ...others] = found;
  if (only === undefined)
    throw new CroupierError('rollout.not-found', `there is no rollout ${wanted}, nor a key set of this name with one`);
  if (others.length > 0)
    throw new CroupierError(
      'input.invalid',
      `${countOf(found.length, 'rollout')} begin with ${wanted}; name more of it`,
    );
  return only.id;
}
