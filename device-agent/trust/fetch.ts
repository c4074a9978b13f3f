/** Trust links from the gateway's public listener. They prove themselves, so plain HTTP serves (D§7). */
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { parseJson } from '#schema/parse.ts';
import { exchange, type HttpAnswer } from '../est/http.ts';
import { MAX_LINKS } from './links.ts';

const Latest = z.object({ latest: TrustVersion });

interface PublicListener {
  /** e.g. http://gateway:8080 */
  readonly url: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

async function get(from: PublicListener, path: string): Promise<HttpAnswer> {
  const { url: base, timeoutMs, signal } = from;
  const url = new URL(path, base.endsWith('/') ? base : `${base}/`);
  const answer = await exchange({ url, method: 'GET', timeoutMs, signal, maxBytes: MAX_MESSAGE_BYTES });
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
export async function fetchTrustLinks(from: PublicListener, held: number | undefined): Promise<Uint8Array[]> {
  const { body } = await get(from, 'trust');
  const { latest } = parseJson(Latest, body.toString('utf8'), 'json.malformed', 'answer to GET trust');
  const first = held === undefined ? latest : held + 1;
  const links: Uint8Array[] = [];
  for (let version = first; version <= Math.min(latest, first + MAX_LINKS - 1); version += 1) {
    links.push((await get(from, `trust/${version}`)).body);
  }
  return links;
}
