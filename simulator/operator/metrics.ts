/** One value of the gateway's metrics (Prometheus text format). */
import { text } from 'node:stream/consumers';
import { CroupierError } from '#schema/errors.ts';
import type { OperatorClient } from './client.ts';

/** A metric without labels. Errors: those of the gateway, `internal.unexpected` when it has no such metric. */
export async function readMetric(client: OperatorClient, name: string): Promise<number> {
  const lines = (await text(await client.stream('metrics.show', {}))).split('\n');
  const value = Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? Number.NaN);
  if (Number.isFinite(value)) return value;
  throw new CroupierError('internal.unexpected', `the gateway has no metric ${name}`);
}

/** Octets of memory that the gateway holds (resident set). */
export const residentOctets = (client: OperatorClient): Promise<number> =>
  readMetric(client, 'process_resident_memory_bytes');
