/** What webhooks need: a secret that only the gateway can read, certificates that can be parsed. */
import type { Config } from '#schema/config.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { openWebhook } from '#gateway/webhooks/files.ts';
import { failure, ok, type Finding } from './check.ts';

/** The URLs have been parsed with the configuration; whether anybody listens there, the gateway's log and metrics tell. */
export async function checkWebhooks({ webhooks }: Config, clock: Clock): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const config of webhooks) {
    const check = `webhook ${config.name}`;
    try {
      const { sender } = await openWebhook(config, clock);
      sender.close();
      findings.push(ok(check, `${new URL(config.url).origin}, ${config.events.join(' ')}`));
    } catch (error) {
      findings.push(failure(check, error));
    }
  }
  return findings;
}
