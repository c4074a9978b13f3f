/** What a device of a class is asked to put into its request (RFC 7030, 4.5; RFC 9908). */
import { encodeCsrAttrs, type RequestableKey } from '#pki/est/csrattrs.ts';
import type { DeviceClass } from '#schema/ids.ts';
import type { DeviceKeyType, Policy } from '#schema/policy.ts';

/** CsrAttrs has no attribute that would name Ed25519. */
const isRequestable = (key: DeviceKeyType): key is RequestableKey => key !== 'Ed25519';

/**
 * CsrAttrs, DER: the key types that the class allows, or, without a label, those that every class allows. Undefined
 * when there is nothing to ask for.
 */
export function csrAttributes(policy: Policy, label: DeviceClass | undefined): Uint8Array | undefined {
  const classes = label === undefined ? Object.values(policy.classes) : [policy.classes[label]];
  const [first, ...others] = classes.flatMap((one) => (one === undefined ? [] : [one.keyTypes]));
  const keys = (first ?? []).filter(isRequestable).filter((key) => others.every((types) => types.includes(key)));
  return keys.length === 0 ? undefined : encodeCsrAttrs({ keys });
}
