/**
 * What a report tells of a time that the gateway has forgotten, because its database was restored from a backup; and what
 * a device claims that nobody sent it. Pure. docs/restore.md tells what people have to do.
 */
import type { AuditEvent } from '#schema/audit.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import type { Report, ReportedVersion } from '#schema/messages/report.ts';
import type { DeliveryState, LearnedRevision } from '#gateway/ports/store/delivery.ts';
import type { DeviceKeyVersion, KeySetRecord, KeyVersionRecord } from '#gateway/ports/store/records.ts';
import { rowOf } from './desired.ts';

/** In the place of the key-encryption key: nothing is wrapped under any, the bytes are lost. */
export const LOST_KEK = 'lost';
/** No device has shown a check value of the version. */
const UNKNOWN_KCV = '0000000000';

/** Versions learned from one report, and of one key set altogether. */
const LEARNED_AT_ONCE = 64;
const LEARNED_AT_MOST = 256;
/** No number further above those that the gateway gave out itself is believed. */
const NUMBERS_AHEAD = 10_000;
/** Revisions follow the clock: one further ahead than any clock is wrong by is no revision of ours. */
const REVISION_AHEAD_MS = 400 * 86_400_000;
const LONGEST_NOTE = 500;

/** A version of which devices hold the bytes and the gateway does not. */
export const isLost = ({ kek }: Pick<KeyVersionRecord, 'kek'>): boolean => kek === LOST_KEK;

export interface Lesson {
  /** The device has processed an update that the gateway has no record of: it is the gateway that forgot. */
  readonly forgotten: boolean;
  /** To be recorded, so that their numbers are taken and those who hold them may keep them. */
  readonly versions: readonly KeyVersionRecord[];
  readonly revisions: readonly LearnedRevision[];
  /** Versions that the device held when the gateway last knew, and has destroyed since. */
  readonly gone: readonly Pick<DeviceKeyVersion, 'keySet' | 'version'>[];
  /** What nobody sent to the device, in words; undefined when everything fits. */
  readonly unexpected: string | undefined;
  readonly events: readonly { readonly code: ErrorCode; readonly details: NonNullable<AuditEvent['details']> }[];
}

/** Whether the report answers an update that was not sent, as far as the database reaches. */
export function isForgotten({ sync, memory }: Pick<DeliveryState, 'sync' | 'memory'>, { lastSeq }: Report): boolean {
  return lastSeq > sync.lastSeq && lastSeq !== sync.seq && !memory.sent(lastSeq);
}

function lostVersion(keySet: KeySetName, reported: ReportedVersion, at: Date): KeyVersionRecord {
  return {
    keySet,
    version: reported.version,
    state: 'deactivated',
    retiredAt: undefined,
    wrapped: undefined,
    kek: LOST_KEK,
    kcv: reported.kcv ?? UNKNOWN_KCV,
    createdAt: at,
    activatedAt: undefined,
    deactivatedAt: at,
    compromisedAt: undefined,
    destroyedAt: undefined,
  };
}

/** Whether the number may have been given out in the time that was forgotten. */
function isBelievable({ versions }: KeySetRecord, number: KeyVersionNumber, learnedNow: number): boolean {
  const own = versions.filter((version) => !isLost(version));
  const highest = own.at(-1)?.version ?? 0;
  const learned = versions.length - own.length + learnedNow;
  return number <= highest + NUMBERS_AHEAD && learned < LEARNED_AT_MOST;
}

/** No device may hold it any more: what brings it back is looked at elsewhere. */
const isGone = ({ state, wrapped }: KeyVersionRecord): boolean =>
  state === 'destroyed' || (state === 'compromised' && wrapped === undefined);

const isHeld = (state: DeviceKeyVersion['state']): boolean =>
  state === 'stored' || state === 'active' || state === 'retired';

function goneSince(state: DeliveryState, report: Report): Lesson['gone'] {
  const listed = new Set(
    report.keyrings.flatMap((ring) => ring.versions.map((one) => `${ring.keySet}/${one.version}`)),
  );
  return state.versions.filter((row) => isHeld(row.state) && !listed.has(`${row.keySet}/${row.version}`));
}

/** What fits into a column and an alert. */
function note(entries: readonly string[]): string | undefined {
  const text = entries.join(', ');
  return text === '' ? undefined : text.slice(0, LONGEST_NOTE);
}

const NOTHING: Lesson = { forgotten: false, versions: [], revisions: [], gone: [], unexpected: undefined, events: [] };

/** Whether all that the device holds is on record: so it is at most times, and seen without making anything. */
function isAllOnRecord({ keySets, versions: rows }: DeliveryState, { keyrings }: Report): boolean {
  for (const { keySet: name, revision, versions } of keyrings) {
    const keySet = keySets.find((entry) => entry.name === name);
    if (keySet !== undefined && revision > keySet.revision) return false;
    for (const { version } of versions) if (rowOf(rows, name, version) === undefined) return false;
  }
  return true;
}

/**
 * A device whose `lastSeq` is of an update that we have no record of proves that we forgot: versions that we do not know
 * are then learned, those that it no longer lists are gone. Without that proof they are a lie or an incident, and are told
 * once for as long as they stay the same.
 */
export function learnFrom(state: DeliveryState, report: Report, at: Date): Lesson {
  const { sync, memory, keySets } = state;
  const forgotten = isForgotten(state, report);
  const isTrustAhead = report.trustVersion > sync.trustVersion && !memory.published(report.trustVersion);
  if (!forgotten && !isTrustAhead && isAllOnRecord(state, report)) return NOTHING;
  const versions: KeyVersionRecord[] = [];
  const revisions: LearnedRevision[] = [];
  const lost = new Map<KeySetName, string[]>();
  const unexpected: string[] = [];
  /** What does not fit and is not recorded, expected or not: told once. */
  const standing: string[] = [];
  for (const { keySet: name, revision, versions: reported } of report.keyrings) {
    const keySet = keySets.find((entry) => entry.name === name);
    if (keySet !== undefined && revision > keySet.revision) {
      if (revision <= at.getTime() + REVISION_AHEAD_MS) revisions.push({ keySet: name, above: revision });
      else {
        const key = `${name} revision ${revision}`;
        standing.push(key);
        unexpected.push(key);
      }
    }
    for (const one of reported) {
      if (rowOf(state.versions, name, one.version) !== undefined) continue;
      const known = keySet?.versions.find(({ version }) => version === one.version);
      if (known !== undefined && (forgotten || isGone(known))) continue;
      const key = `${name}/${one.version}`;
      const mine = versions.filter((version) => version.keySet === name).length;
      const mayLearn = forgotten && keySet !== undefined && versions.length < LEARNED_AT_ONCE;
      const isLearned = mayLearn && isBelievable(keySet, one.version, mine);
      if (isLearned) versions.push(lostVersion(name, one, at));
      else standing.push(key);
      if (isLearned || (forgotten && keySet === undefined)) lost.set(name, [...(lost.get(name) ?? []), key]);
      else unexpected.push(key);
    }
  }
  const told = note(standing);
  const events: Lesson['events'][number][] = [];
  if (forgotten || isTrustAhead) {
    const details = { lastSeq: report.lastSeq, seq: sync.seq, trust: report.trustVersion };
    events.push({ code: 'report.ahead', details });
  }
  for (const [keySet, list] of lost) events.push({ code: 'keyset.version-lost', details: { keySet, versions: list } });
  if (unexpected.length > 0 && told !== sync.unexpected)
    events.push({ code: 'report.version-unexpected', details: { versions: unexpected.slice(0, LEARNED_AT_ONCE) } });
  return {
    forgotten,
    versions,
    revisions,
    gone: forgotten ? goneSince(state, report) : [],
    unexpected: told,
    events,
  };
}

/** The key sets with what was learned, for what is decided next. */
export function withLearned(
  keySets: readonly KeySetRecord[],
  { versions, revisions }: Lesson,
): readonly KeySetRecord[] {
  if (versions.length === 0 && revisions.length === 0) return keySets;
  return keySets.map((keySet) => ({
    ...keySet,
    revision: Math.max(
      keySet.revision,
      ...revisions.filter((one) => one.keySet === keySet.name).map((one) => one.above + 1),
    ),
    versions: [...keySet.versions, ...versions.filter((version) => version.keySet === keySet.name)].sort(
      (a, b) => a.version - b.version,
    ),
  }));
}
