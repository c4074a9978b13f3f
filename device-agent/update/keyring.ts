/**
 * One keyring: what it is after an update (D§7, D§9). Pure. Nothing goes back: no revision falls, no destroyed version
 * returns.
 */
import { CroupierError } from '#schema/errors.ts';
import type { KeyVersionNumber, Seq } from '#schema/ids.ts';
import type { KeyDelivery, KeyringUpdate } from '#schema/messages/update.ts';
import type { DeferredActivation, DestroyedVersion, HeldKeyring, HeldVersion } from '../state/state.ts';

/** A delivered key whose envelope has been opened and checked. */
export type OpenedKeys = ReadonlyMap<KeyVersionNumber, Uint8Array>;

const emptyKeyring = (keySet: KeyringUpdate['keySet']): HeldKeyring => ({
  keySet,
  revision: 0,
  active: null,
  accept: [],
  versions: [],
  destroyed: [],
  deferred: undefined,
});

const hasDuplicates = (list: readonly number[]): boolean => list.length > 1 && new Set(list).size !== list.length;

function checkShape(update: KeyringUpdate): void {
  const { keySet, active, accept, destroy, keys } = update;
  const delivered = keys.map(({ version }) => version);
  const malformed = (what: string): CroupierError =>
    new CroupierError('message.malformed', `keyring ${keySet}: ${what}`);
  if ([accept, destroy, delivered].some(hasDuplicates)) throw malformed('a version is listed twice');
  if (active !== null && !accept.includes(active)) throw malformed(`the active version ${active} is not accepted`);
  const doomed = destroy.find((version) => accept.includes(version) || delivered.includes(version));
  if (doomed !== undefined) throw malformed(`version ${doomed} is to be destroyed and to be kept`);
}

function checkDelivery(keyring: HeldKeyring, delivery: KeyDelivery): void {
  const held = keyring.versions.find(({ version }) => version === delivery.version);
  if (held === undefined) return;
  if (held.kcv === delivery.kcv && held.algorithm === delivery.algorithm && held.use === delivery.use) return;
  throw new CroupierError(
    'message.conflict',
    `key set ${keyring.keySet}: another key than the version ${delivery.version} that is held`,
  );
}

/**
 * Whether the keyring may become what `update` says, before any envelope is opened.
 * Errors: `message.malformed` (it contradicts itself), `message.conflict` (an older revision, another key of a version
 * held), `keyset.state-refused` (a destroyed version), `keyset.version-not-found` (accepted but neither held nor
 * delivered).
 */
export function checkKeyring(held: HeldKeyring | undefined, update: KeyringUpdate): void {
  const keyring = held ?? emptyKeyring(update.keySet);
  const { keySet, revision, accept, keys } = update;
  checkShape(update);
  if (revision < keyring.revision) {
    throw new CroupierError(
      'message.conflict',
      `key set ${keySet}: revision ${revision} is lower than ${keyring.revision}, which is held`,
    );
  }
  const delivered = keys.map(({ version }) => version);
  const risen = keyring.destroyed.find(({ version }) => accept.includes(version) || delivered.includes(version));
  if (risen !== undefined) {
    throw new CroupierError('keyset.state-refused', `key set ${keySet}: version ${risen.version} is destroyed`);
  }
  const isHeld = (wanted: KeyVersionNumber): boolean => keyring.versions.some(({ version }) => version === wanted);
  const missing = accept.find((version) => !isHeld(version) && !delivered.includes(version));
  if (missing !== undefined) {
    throw new CroupierError('keyset.version-not-found', `key set ${keySet}: version ${missing} is not held`);
  }
  for (const delivery of keys) checkDelivery(keyring, delivery);
}

function withStates(
  versions: readonly HeldVersion[],
  active: KeyVersionNumber | null,
  accept: readonly KeyVersionNumber[],
): HeldVersion[] {
  return versions.map((held) => {
    const state = held.version === active ? 'active' : accept.includes(held.version) ? 'stored' : 'retired';
    return held.state === state ? held : { ...held, state };
  });
}

function destroyedAfter(keyring: HeldKeyring, update: KeyringUpdate): readonly DestroyedVersion[] {
  if (keyring.destroyed.length === 0 && update.destroy.length === 0) return keyring.destroyed;
  const known = new Map(keyring.destroyed.map((tombstone) => [tombstone.version, { ...tombstone, listed: false }]));
  for (const version of update.destroy) {
    const kcv = keyring.versions.find((held) => held.version === version)?.kcv ?? known.get(version)?.kcv ?? null;
    known.set(version, { version, kcv, listed: true });
  }
  return [...known.values()].sort((a, b) => a.version - b.version);
}

function versionsAfter(keyring: HeldKeyring, update: KeyringUpdate, opened: OpenedKeys): HeldVersion[] {
  const kept = keyring.versions.filter(({ version }) => !update.destroy.includes(version));
  const added = update.keys.flatMap(({ version, algorithm, use, kcv }): HeldVersion[] => {
    const key = opened.get(version);
    if (key === undefined || kept.some((held) => held.version === version)) return [];
    return [{ version, state: 'stored', algorithm, use, kcv, key }];
  });
  return [...kept, ...added].sort((a, b) => a.version - b.version);
}

/** An activation waits only where it would take a version away that is in use and may stay in use. */
function mayWait(keyring: HeldKeyring, update: KeyringUpdate): boolean {
  const { active } = keyring;
  return active !== null && update.active !== null && update.active !== active && !update.destroy.includes(active);
}

/**
 * The keyring after `update`, which `checkKeyring` accepted. `busyUntil`: an application defers the activation until
 * then. Keys are stored in any case, and a version that is to be destroyed is never waited for.
 */
export function applyKeyring(
  held: HeldKeyring | undefined,
  update: KeyringUpdate,
  opened: OpenedKeys,
  seq: Seq,
  busyUntil: Date | undefined,
): HeldKeyring {
  const keyring = held ?? emptyKeyring(update.keySet);
  const { keySet, revision, accept } = update;
  const versions = versionsAfter(keyring, update, opened);
  const destroyed = destroyedAfter(keyring, update);
  let { active } = update;
  let deferred: DeferredActivation | undefined;
  if (busyUntil !== undefined && active !== null && mayWait(keyring, update)) {
    deferred = { version: active, seq, until: busyUntil };
    active = keyring.active;
  }
  return { keySet, revision, active, accept, versions: withStates(versions, active, accept), destroyed, deferred };
}

/** The keyring once the device is free: what was deferred is active. */
export function activateDeferred(keyring: HeldKeyring): HeldKeyring {
  if (keyring.deferred === undefined) return keyring;
  const { version: active } = keyring.deferred;
  const versions = withStates(keyring.versions, active, keyring.accept);
  return { ...keyring, active, versions, deferred: undefined };
}
