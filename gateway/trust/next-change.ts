/** What the next trust bundle would change, before anybody signs it. */
import { createHash } from 'node:crypto';
import { Sha256, TrustVersion } from '#schema/ids.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import type { PlannedChange } from '#gateway/rollout/plan.ts';
import { composeBundle } from './bundle.ts';
import { mergeAnchors, type NextBundlePorts } from './publish.ts';

export type TrustChange = Extract<PlannedChange, { readonly kind: 'trust-bundle' }>;

/**
 * The bundle that `publishNextBundle` would make with these changes now, by the hash of its anchors and message signers:
 * what an approval binds to. Its times are no part of it, since they are not known before.
 */
export async function nextTrustChange(
  ports: Pick<NextBundlePorts, 'realm' | 'store' | 'clock' | 'policy' | 'authorities'>,
  changes: Readonly<Record<string, readonly string[]>>,
): Promise<TrustChange> {
  const { anchors, messageSigner, standbySigner } = ports.authorities();
  const before = await ports.store.latestTrustBundle();
  const body = composeBundle({
    realm: ports.realm,
    previous: before,
    anchors: { ...anchors, others: mergeAnchors(before?.body, changes) },
    current: messageSigner.certificate,
    standby: standbySigner?.certificate,
    now: ports.clock.now(),
    validityMs: ports.policy().trust.validity,
  });
  const trusted = canonicalJson({ anchors: body.anchors, messageSigners: body.messageSigners });
  return {
    kind: 'trust-bundle',
    fromVersion: before?.version ?? TrustVersion.parse(0),
    toVersion: body.version,
    anchorsSha256: Sha256.parse(createHash('sha256').update(trusted, 'utf8').digest('hex')),
  };
}
