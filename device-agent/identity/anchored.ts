/** Whether the device's own certificate still stands below an anchor of the trust bundle that it holds. */
import { validateChain } from '#pki/certificate/chain.ts';
import { OID } from '#pki/der/oid.ts';
import { errorCode } from '#schema/errors.ts';
import type { IdentitySlot } from '../state/state.ts';
import type { ReadBundle } from '../trust/bundle.ts';

/** The answer for the bundle that a slot was last asked about. */
const answers = new WeakMap<IdentitySlot, { readonly bundle: ReadBundle; readonly anchored: boolean }>();

function judge({ certificate, chain }: IdentitySlot, { anchors }: ReadBundle): boolean {
  try {
    const trust = { anchors: anchors.identity, at: 'ignore-time', extendedKeyUsage: OID.clientAuth } as const;
    validateChain(certificate, chain, trust);
    return true;
  } catch (error) {
    // Only what is told of anchors counts: a certificate that some other rule refuses was held before.
    return errorCode(error) !== 'certificate.untrusted';
  }
}

/** True while its CA is among the `identity` anchors; false from the bundle on that the CA has left. */
export function isAnchored(slot: IdentitySlot, bundle: ReadBundle): boolean {
  const known = answers.get(slot);
  if (known?.bundle === bundle) return known.anchored;
  const anchored = judge(slot, bundle);
  answers.set(slot, { bundle, anchored });
  return anchored;
}
