/** All keyrings of an update at once: every one of them changes, or none. */
import { CroupierError } from '#schema/errors.ts';
import type { KeySetName, KeyVersionNumber, Seq } from '#schema/ids.ts';
import type { UpdateResult } from '#schema/messages/report.ts';
import type { Update } from '#schema/messages/update.ts';
import type { HeldKeyring } from '../state/state.ts';
import type { BusyOracle } from '../view.ts';
import { activateDeferred, applyKeyring, checkKeyring, type OpenedKeys } from './keyring.ts';

export type OpenedByKeySet = ReadonlyMap<KeySetName, OpenedKeys>;

export interface Activation {
  readonly keySet: KeySetName;
  readonly version: KeyVersionNumber;
}

export interface KeyringsAfter {
  readonly keyrings: readonly HeldKeyring[];
  readonly activated: readonly Activation[];
  readonly result: UpdateResult;
}

const MAX_KEYRINGS = 64;

const find = (keyrings: readonly HeldKeyring[], keySet: KeySetName): HeldKeyring | undefined =>
  keyrings.find((keyring) => keyring.keySet === keySet);

/** Errors: those of `checkKeyring`, and `message.malformed` for a key set named twice or too many of them. */
export function checkKeyrings(held: readonly HeldKeyring[], update: Update): void {
  const named = update.keyrings.length;
  if (named > 1 && new Set(update.keyrings.map(({ keySet }) => keySet)).size !== named) {
    throw new CroupierError('message.malformed', 'the update names a key set twice');
  }
  const added = update.keyrings.filter(({ keySet }) => find(held, keySet) === undefined);
  if (held.length + added.length > MAX_KEYRINGS) {
    throw new CroupierError('message.malformed', `the device would hold more than ${MAX_KEYRINGS} key sets`);
  }
  for (const keyring of update.keyrings) checkKeyring(find(held, keyring.keySet), keyring);
}

function activations(before: readonly HeldKeyring[], after: readonly HeldKeyring[]): Activation[] {
  return after.flatMap(({ keySet, active }) =>
    active !== null && find(before, keySet)?.active !== active ? [{ keySet, version: active }] : [],
  );
}

/** What the update with `seq` has come to, now that the keyrings are these. */
function resultOf(seq: Seq, keyrings: readonly HeldKeyring[]): UpdateResult {
  const until = keyrings.flatMap(({ deferred }) => (deferred?.seq === seq ? [deferred.until.getTime()] : []));
  return until.length === 0
    ? { seq, outcome: 'applied' }
    : { seq, outcome: 'deferred', code: 'device.busy', until: new Date(Math.max(...until)).toISOString() };
}

const busyUntil = (busy: BusyOracle | undefined, keySet: KeySetName, now: Date): Date | undefined => {
  const until = busy?.busyUntil(keySet, now);
  return until !== undefined && until > now ? until : undefined;
};

/** The keyrings after an update that `checkKeyrings` accepted. Key sets that it does not name stay as they are. */
export function applyKeyrings(
  held: readonly HeldKeyring[],
  update: Update,
  opened: OpenedByKeySet,
  busy: BusyOracle | undefined,
  now: Date,
): KeyringsAfter {
  const named = update.keyrings.map((keyring) =>
    applyKeyring(
      find(held, keyring.keySet),
      keyring,
      opened.get(keyring.keySet) ?? new Map(),
      update.seq,
      busyUntil(busy, keyring.keySet, now),
    ),
  );
  const others = held.filter(({ keySet }) => find(named, keySet) === undefined);
  const keyrings = [...others, ...named].sort((a, b) => (a.keySet < b.keySet ? -1 : 1));
  return { keyrings, activated: activations(held, keyrings), result: resultOf(update.seq, keyrings) };
}

/** Activates what was deferred and is free now; undefined if nothing is. */
export function retryDeferred(
  held: readonly HeldKeyring[],
  busy: BusyOracle | undefined,
  now: Date,
): (Omit<KeyringsAfter, 'result'> & { readonly results: readonly UpdateResult[] }) | undefined {
  const keyrings = held.map((keyring) =>
    keyring.deferred !== undefined && busyUntil(busy, keyring.keySet, now) === undefined
      ? activateDeferred(keyring)
      : keyring,
  );
  const activated = activations(held, keyrings);
  if (activated.length === 0) return undefined;
  const seqs = new Set(
    held.flatMap(({ keySet, deferred }) =>
      deferred !== undefined && activated.some((one) => one.keySet === keySet) ? [deferred.seq] : [],
    ),
  );
  return { keyrings, activated, results: [...seqs].map((seq) => resultOf(seq, keyrings)) };
}
