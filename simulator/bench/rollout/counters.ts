/** What the gateway has sent and taken since it began, by its own metrics. */
import type { OperatorClient } from '../../operator/client.ts';

export interface Counters {
  readonly updates: number;
  readonly trustLinks: number;
  readonly reports: number;
}

/** Sum of all samples of one metric in the Prometheus text format, whatever their labels. */
export function sumOf(metrics: string, name: string): number {
  let sum = 0;
  for (const line of metrics.split('\n')) {
    if (!line.startsWith(name) || !/^[ {]/.test(line.slice(name.length))) continue;
    sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

export async function readCounters(client: OperatorClient): Promise<Counters> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of await client.stream('metrics.show', {}))
    if (chunk instanceof Uint8Array) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return {
    updates: sumOf(text, 'croupier_updates_total'),
    trustLinks: sumOf(text, 'croupier_trust_links_total'),
    reports: sumOf(text, 'croupier_reports_total'),
  };
}

export const since = (before: Counters, now: Counters): Counters => ({
  updates: now.updates - before.updates,
  trustLinks: now.trustLinks - before.trustLinks,
  reports: now.reports - before.reports,
});
