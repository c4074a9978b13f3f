/** Follows a rollout by its event stream; a gateway that restarts meanwhile is found again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';
import { RolloutView } from '#schema/api/views.ts';
import { parseJson } from '#schema/parse.ts';
import type { ApiClient } from '../client/api-client.ts';
import { eventData } from '../client/events.ts';
import type { Context } from '../context.ts';
import { createProgress } from '../output/progress.ts';
import { progressOf } from './rollout-progress.ts';

const RETRY_MS = 1_000;
/** So many attempts in a row without an event, then the gateway counts as gone. */
const ATTEMPTS = 30;

/**
 * Shows progress until `isDone` says so; resolves to the last state seen. Aborting ends the watching, never the rollout.
 * Errors: those of the route; `network.*` when the gateway stays away.
 */
export async function watchRollout(
  context: Context,
  id: string,
  isDone: (rollout: RolloutView) => boolean,
  stop: AbortSignal,
): Promise<RolloutView> {
  const progress = createProgress(context.terminal, context.clock);
  const show = (rollout: RolloutView): RolloutView => {
    if (context.options.json === undefined) progress.update(progressOf(rollout));
    return rollout;
  };
  let last: RolloutView | undefined;
  let failures = 0;
  try {
    for (;;) {
      try {
        const api = await context.connect('fleet.view');
        last = show(await api.call('rollout.show', { params: { id } }));
        if (isDone(last)) return last;
        for await (const rollout of changes(api, id, stop)) {
          failures = 0;
          last = show(rollout);
          if (isDone(last)) return last;
        }
      } catch (error) {
        if (!stop.aborted && (last === undefined || !isPassing(error) || failures >= ATTEMPTS)) throw error;
      }
      if (stop.aborted && last !== undefined) return last;
      failures += 1;
      await sleep(RETRY_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  } finally {
    progress.end();
  }
}

const isPassing = (error: unknown): boolean =>
  !(error instanceof CroupierError) || error.code === 'network.unreachable' || error.code === 'network.timeout';

async function* changes(api: ApiClient, id: string, stop: AbortSignal): AsyncGenerator<RolloutView> {
  const stream = await api.stream('rollout.watch', { params: { id } }, stop);
  try {
    for await (const data of eventData(stream))
      yield parseJson(RolloutView, data, 'json.malformed', 'event of the rollout');
  } finally {
    stream.destroy();
  }
}
