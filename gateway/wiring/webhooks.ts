/** Those who are told what happens: webhooks, and operators who look on. */
import { feedAlerts } from '../api/alert-feed.ts';
import { startWebhooks, type Webhooks } from '../audit/webhooks.ts';
import type { Metrics } from '../ports/metrics.ts';
import { openWebhook } from '../webhooks/files.ts';
import type { Foundation } from './foundation.ts';

/** Errors: `config.missing`, `config.invalid`, `store.unavailable`. */
export async function openWebhooks(foundation: Foundation, metrics: Metrics): Promise<Webhooks> {
  const { config, store, feed, clock, random, log, closing } = foundation;
  feedAlerts(store, feed);
  const setups = await Promise.all(config.webhooks.map((webhook) => openWebhook(webhook, clock)));
  const webhooks = await startWebhooks(setups, { store, clock, random, log, metrics });
  closing.add(() => webhooks.stop());
  return webhooks;
}
