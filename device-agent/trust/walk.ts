/** The walk from the bundle held to the latest one: every link is verified, expiry counts on the last alone (D§7). */
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { Realm } from '#schema/ids.ts';
import type { TimeReading } from '../clock/trusted-time.ts';
import { verifyGenesis, verifyLink, type ReadBundle } from './bundle.ts';

export interface TrustOrigin {
  readonly realm: Realm;
  /** DER; matches the fingerprint of the ticket. */
  readonly root: Uint8Array;
  /** What is held; undefined before the first. */
  readonly held: ReadBundle | undefined;
}

export interface Walk {
  /** The furthest bundle that verifies; what was held if there was no step. */
  readonly reached: ReadBundle | undefined;
  /** Why it went no further, if a link was refused. */
  readonly refusal: CroupierError | undefined;
}

/**
 * Walks `links`, ascending by version, as far as they verify. Where the furthest has expired by the time that is
 * certain, the walk is refused as a whole: what follows may still be on its way.
 */
export function walkTrust(origin: TrustOrigin, links: readonly ReadBundle[], time: TimeReading): Walk {
  let reached = origin.held;
  let refusal: CroupierError | undefined;
  for (const link of links) {
    if (link.digest === reached?.digest) continue;
    try {
      if (reached === undefined) verifyGenesis(link, origin.root, origin.realm);
      else verifyLink(reached, link);
      reached = link;
    } catch (error) {
      refusal =
        error instanceof CroupierError ? error : new CroupierError(errorCode(error), undefined, { cause: error });
      break;
    }
  }
  if (reached === undefined || reached === origin.held) return { reached: origin.held, refusal };
  if (new Date(reached.body.expiresAt) <= time.floor) {
    const { version, expiresAt } = reached.body;
    refusal = new CroupierError('trust.expired', `the latest trust bundle, ${version}, expired at ${expiresAt}`);
    return { reached: origin.held, refusal };
  }
  return { reached, refusal };
}
