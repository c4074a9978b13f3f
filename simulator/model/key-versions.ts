/** Key sets and versions as rows; nothing here holds a key. */
import { hash } from 'node:crypto';
import type { KeySetRecord, KeyVersionRecord, KeyVersionState } from '#gateway/ports/store/records.ts';
import type { KeyVersionChange } from '#gateway/ports/store/rollouts.ts';
import { KeyVersionNumber, type KeySetName } from '#schema/ids.ts';
import type { KeyDelivery } from '#schema/messages/update.ts';
import type { KeySetPolicy } from '#schema/policy.ts';

const KCV_DIGITS = 10;
/** What a wrapped key is in the model: there, and empty. */
export const WRAPPED = new Uint8Array(0);
export const KEK = 'model';

export const checkValue = (keySet: string, version: number): string =>
  hash('sha256', `${keySet}/${version}`, 'hex').slice(0, KCV_DIGITS);

/** A key set whose first version is in use since `activatedAt`. */
export function newKeySet(name: KeySetName, policy: KeySetPolicy, activatedAt: Date): KeySetRecord {
  const { algorithm, use, scope, selector, cryptoperiod } = policy;
  const version = KeyVersionNumber.parse(1);
  const first: KeyVersionRecord = {
    keySet: name,
    version,
    state: 'active',
    retiredAt: undefined,
    wrapped: WRAPPED,
    kek: KEK,
    kcv: checkValue(name, version),
    createdAt: activatedAt,
    activatedAt,
    deactivatedAt: undefined,
    compromisedAt: undefined,
    destroyedAt: undefined,
  };
  return {
    name,
    algorithm,
    use,
    scope,
    selector,
    cryptoperiodMs: cryptoperiod,
    revision: 1,
    createdAt: activatedAt,
    versions: [first],
  };
}

/** A version after a change; the first time of each state is kept. As in gateway/store/sqlite/key-sets.ts. */
export function changedVersion(version: KeyVersionRecord, change: KeyVersionChange, at: Date): KeyVersionRecord {
  const since = (state: KeyVersionState, before: Date | undefined): Date | undefined =>
    before ?? (change.state === state ? at : undefined);
  return {
    ...version,
    state: change.state,
    retiredAt: change.retired ? (version.retiredAt ?? at) : undefined,
    activatedAt: since('active', version.activatedAt),
    deactivatedAt: since('deactivated', version.deactivatedAt),
    compromisedAt:
      change.compromised === true ? (version.compromisedAt ?? at) : since('compromised', version.compromisedAt),
    destroyedAt: since('destroyed', version.destroyedAt),
    wrapped: change.erase ? undefined : version.wrapped,
  };
}

const ENVELOPE = '';
const deliveries = new WeakMap<KeyVersionRecord, KeyDelivery>();

/** A version as an update brings it; the envelope is empty. */
export function deliveryOf(keySet: KeySetRecord, record: KeyVersionRecord): KeyDelivery {
  const known = deliveries.get(record);
  if (known !== undefined) return known;
  const { version, kcv } = record;
  const delivery: KeyDelivery = { version, algorithm: keySet.algorithm, use: keySet.use, kcv, envelope: ENVELOPE };
  deliveries.set(record, delivery);
  return delivery;
}
