/**
 * What became of each device, from its own word at every moment: the history that invariants are judged by. What must
 * never happen to one device (I5) is noticed while it happens.
 */
import type { AgentEvent, AgentView } from '#agent/agent.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { DeviceId, KeySetName, KeyVersionNumber, Seq, Serial, TrustVersion } from '#schema/ids.ts';
import type { KeyringView } from '#agent/view.ts';
import type { Witness } from '../floor/observer.ts';
import type { DevicePlan } from '../floor/plan.ts';

/** Milliseconds since 1970, of the simulator's own clock; `to` is infinite while it lasts. */
export interface Span {
  readonly from: number;
  to: number;
}

export interface VersionSpan extends Span {
  readonly keySet: KeySetName;
  readonly version: KeyVersionNumber;
}

export interface AppliedUpdate {
  readonly at: number;
  readonly seq: Seq;
  readonly deferred: boolean;
}

export interface RefusedUpdate {
  readonly at: number;
  readonly seq: Seq;
  readonly code: ErrorCode;
}

export interface ObservedError {
  readonly at: number;
  readonly activity: string;
  readonly code: ErrorCode;
}

export interface DeviceHistory {
  readonly plan: DevicePlan;
  readonly connections: readonly Span[];
  readonly applied: readonly AppliedUpdate[];
  readonly refused: readonly RefusedUpdate[];
  readonly repeatedUpdates: number;
  /** How often it was told to wait for an engineer. */
  readonly parkings: number;
  /** Trust links that it has walked. */
  readonly links: number;
  /** Trust bundles that it came to hold. */
  readonly trust: readonly { readonly at: number; readonly version: TrustVersion }[];
  /** Certificates that it has held, with the moment when it first did. */
  readonly serials: ReadonlyMap<Serial, number>;
  /** Versions that it used for new work. */
  readonly used: readonly VersionSpan[];
  /** Versions that it accepted: stored or active. */
  readonly accepted: readonly VersionSpan[];
  readonly reports: readonly { readonly at: number; readonly counter: number; readonly repeated: boolean }[];
  readonly errors: readonly ObservedError[];
  /** When it learned the time from the gateway, and what it took the time to be. */
  readonly clocks: readonly { readonly at: number; readonly now: Date }[];
  /** What should never have happened to it (I5). */
  readonly setbacks: readonly string[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };

/** The highest that one life of a storage has seen. */
interface Marks {
  trust: TrustVersion | undefined;
  seq: Seq | undefined;
  revisions: Map<KeySetName, number>;
  /** Versions that were held and are gone. */
  gone: Map<KeySetName, Set<KeyVersionNumber>>;
  held: Map<KeySetName, Set<KeyVersionNumber>>;
}

interface Entry {
  readonly history: Mutable<Omit<DeviceHistory, 'serials'>> & { readonly serials: Map<Serial, number> };
  marks: Marks;
}

const NEVER = Number.POSITIVE_INFINITY;
const ERRORS_KEPT = 100;

const newMarks = (): Marks => ({
  trust: undefined,
  seq: undefined,
  revisions: new Map(),
  gone: new Map(),
  held: new Map(),
});

function entryOf(plan: DevicePlan): Entry {
  return {
    history: {
      plan,
      connections: [],
      applied: [],
      refused: [],
      repeatedUpdates: 0,
      parkings: 0,
      links: 0,
      trust: [],
      serials: new Map(),
      used: [],
      accepted: [],
      reports: [],
      errors: [],
      clocks: [],
      setbacks: [],
    },
    marks: newMarks(),
  };
}

export class Chronicle implements Witness {
  private readonly entries: ReadonlyMap<DeviceId, Entry>;
  private readonly now: () => number;

  constructor(plans: readonly DevicePlan[], now: () => number) {
    this.entries = new Map(plans.map((plan) => [plan.id, entryOf(plan)]));
    this.now = now;
  }

  of(id: DeviceId): DeviceHistory {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new TypeError(`${id} is not on this floor`);
    return entry.history;
  }

  all(): readonly DeviceHistory[] {
    return [...this.entries.values()].map(({ history }) => history);
  }

  /** The storage of the device was replaced by hand: what it held before binds it no more. */
  noteRestored(id: DeviceId): void {
    const entry = this.entries.get(id);
    if (entry !== undefined) entry.marks = newMarks();
  }

  notePower(id: DeviceId, isOn: boolean): void {
    const entry = this.entries.get(id);
    if (entry !== undefined && !isOn) end(entry.history.connections, this.now());
  }

  noteView(id: DeviceId, view: AgentView): void {
    const entry = this.entries.get(id);
    if (entry === undefined) return;
    const at = this.now();
    const serial = view.identity()?.serial;
    if (serial !== undefined && !entry.history.serials.has(serial)) entry.history.serials.set(serial, at);
    this.takeTrust(entry, view.trust()?.version, at);
    for (const keyring of view.keyrings()) this.takeKeyring(entry, keyring, at);
  }

  noteEvent(id: DeviceId, event: AgentEvent): void {
    const entry = this.entries.get(id);
    if (entry === undefined) return;
    const { history, marks } = entry;
    const at = this.now();
    switch (event.kind) {
      case 'connected':
        end(history.connections, at);
        history.connections.push({ from: at, to: NEVER });
        break;
      case 'disconnected':
        end(history.connections, at);
        break;
      case 'update-applied':
        if (marks.seq !== undefined && event.seq <= marks.seq)
          history.setbacks.push(`took update ${event.seq} after ${marks.seq}`);
        marks.seq = event.seq;
        history.applied.push({ at, seq: event.seq, deferred: event.deferred });
        break;
      case 'update-refused':
        history.refused.push({ at, seq: event.seq, code: event.code });
        break;
      case 'update-repeated':
        history.repeatedUpdates += 1;
        break;
      case 'trust-advanced':
        // The first bundle is where a device begins; it walks nothing.
        if (event.from > 0) history.links += event.to - event.from;
        break;
      case 'report-sent':
        history.reports.push({ at, counter: event.counter, repeated: event.repeated });
        break;
      case 'clock-trusted':
        history.clocks.push({ at, now: event.now });
        break;
      case 'error':
        if (history.errors.length < ERRORS_KEPT)
          history.errors.push({ at, activity: event.activity, code: event.code });
        break;
      case 'parked':
        history.parkings += 1;
        break;
      case 'enrolled':
      case 'renewed':
      case 'promoted':
      case 'activated':
        break;
    }
  }

  private takeTrust({ history, marks }: Entry, version: TrustVersion | undefined, at: number): void {
    if (version === undefined) return;
    if (history.trust.at(-1)?.version !== version) history.trust.push({ at, version });
    if (marks.trust !== undefined && version < marks.trust)
      history.setbacks.push(`went from trust bundle ${marks.trust} back to ${version}`);
    marks.trust = version;
  }

  private takeKeyring({ history, marks }: Entry, keyring: KeyringView, at: number): void {
    const { keySet, revision, active, versions } = keyring;
    const before = marks.revisions.get(keySet);
    if (before !== undefined && revision < before)
      history.setbacks.push(`went from revision ${before} of ${keySet} back to ${revision}`);
    marks.revisions.set(keySet, revision);

    const held = new Set(versions.map(({ version }) => version));
    const gone = marks.gone.get(keySet) ?? new Set();
    for (const version of marks.held.get(keySet) ?? []) if (!held.has(version)) gone.add(version);
    for (const version of held) {
      if (!gone.delete(version)) continue;
      history.setbacks.push(`holds ${keySet} ${version} again, which it had destroyed`);
    }
    marks.gone.set(keySet, gone);
    marks.held.set(keySet, held);

    const accepted = versions.filter(({ state }) => state !== 'retired').map(({ version }) => version);
    follow(history.used, keySet, active === null ? [] : [active], at);
    follow(history.accepted, keySet, accepted, at);
  }
}

function end(spans: readonly Span[], at: number): void {
  const last = spans.at(-1);
  if (last !== undefined && last.to === NEVER) last.to = at;
}

/** Ends the spans of versions that are no longer among `present`, and begins those of new ones. */
function follow(spans: VersionSpan[], keySet: KeySetName, present: readonly KeyVersionNumber[], at: number): void {
  const open = spans.filter((span) => span.keySet === keySet && span.to === NEVER);
  for (const span of open) if (!present.includes(span.version)) span.to = at;
  for (const version of present) {
    if (!open.some((span) => span.version === version)) spans.push({ keySet, version, from: at, to: NEVER });
  }
}

/** Whether one of the spans covers the moment. */
export const coversMoment = (spans: readonly Span[], at: number): boolean =>
  spans.some(({ from, to }) => from <= at && at < to);
