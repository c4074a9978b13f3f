/** Trust links from the gateway's public listener. They prove themselves, so plain HTTP serves (D§7). */
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { parseJson } from '#schema/parse.ts';
import { exchange, type HttpAnswer } from '../est/http.ts';
import { MAX_LINKS } from './links.ts';

const Latest = z.object({ latest: TrustVersion });

async function get(base: string, path: string, timeoutMs: number): Promise<HttpAnswer> {
  const url = new URL(path, base.endsWith('/') ? base : `${base}/`);
  const answer = await exchange({ url, method: 'GET', timeoutMs, maxBytes: MAX_MESSAGE_BYTES });
  if (answer.status === 404) throw new CroupierError('trust.not-found', `the gateway has no ${path}`);
  if (answer.status !== 200) {
    throw new CroupierError('network.unreachable', `the gateway answers ${answer.status} to GET ${path}`);
  }
  return answer;
}

/**
 * The links after version `held`, CMS DER, ascending, at most 256; before the first bundle, the latest alone. Nothing is
 * verified. Errors: `network.*`, `trust.not-found`, `json.malformed`.
 */
export async function fetchTrustLinks(
  publicUrl: string,
  held: number | undefined,
  timeoutMs: number,
): Promise<Uint8Array[]> {
  const { body } = await get(publicUrl, 'trust', timeoutMs);
  const { latest } = parseJson(Latest, body.toString('utf8'), 'json.malformed', 'answer to GET trust');
  const from = held === undefined ? latest : held + 1;
  const links: Uint8Array[] = [];
  for (let version = from; version <= Math.min(latest, from + MAX_LINKS - 1); version += 1) {
    links.push((await get(publicUrl, `trust/${version}`, timeoutMs)).body);
  }
  return links;
}
