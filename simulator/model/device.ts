/**
 * The agent at the level of messages: what it makes of an update, and what it reports. The rules are the agent's own
 * (device-agent/update); left out are its keys, its disk and its network.
 */
import { decideUpdate } from '#agent/update/decide.ts';
import { applyKeyrings, checkKeyrings, retryDeferred, type OpenedByKeySet } from '#agent/update/keyrings.ts';
import type { OpenedKeys } from '#agent/update/keyring.ts';
import { withResult, type HeldKeyring } from '#agent/state/state.ts';
import type { BusyOracle } from '#agent/view.ts';
import { errorCode } from '#schema/errors.ts';
import {
  Seq,
  TrustVersion,
  type DeviceId,
  type KeySetName,
  type KeyVersionNumber,
  type Realm,
  type Sha256,
} from '#schema/ids.ts';
import type { Report, UpdateResult } from '#schema/messages/report.ts';
import type { Update } from '#schema/messages/update.ts';
import type { Holding, Holdings } from './holdings.ts';
import { bootIdAt, counterOf, digestAt, nonceAt, minuteOf } from './stand-ins.ts';

/**
 * `busy`: an application asks for time before most activations. `refuses`: every update fails. `hoards`: keys are
 * stored and never used, and nothing says so.
 */
export type Conduct = 'ordinary' | 'busy' | 'refuses' | 'hoards';

/** A report with the digest that stands for its signed bytes. */
export interface MadeReport {
  readonly report: Report;
  readonly digest: Sha256;
}

const AGENT: Report['agent'] = { version: '1', platform: 'model' };
/** As in device-agent/report/reporter.ts and device-agent/options.ts. */
const NONCE_LIFE_MS = 5 * 60_000;
/** The agent keeps some more; an update that answers an older one than this has been overtaken. */
const NONCES_KEPT = 8;
const NO_RESULTS: UpdateResult[] = [];
const REFUSAL_INTERVAL_MS = 60_000;
/** Stands for the bytes of every key: the model has none. */
const NO_BYTES = new Uint8Array(0);

export interface DeviceIdentity {
  readonly serial: Report['identity']['serial'];
  readonly notAfter: Report['identity']['notAfter'];
  readonly keyFingerprint: Sha256;
}

/** How long the application stays busy, in milliseconds; 0 when it is free. Asked when an update would activate a version. */
export type BusyFor = () => number;

export interface DeviceStart {
  readonly realm: Realm;
  readonly id: DeviceId;
  readonly conduct: Conduct;
  readonly busyFor: BusyFor;
  readonly holdings: Holdings;
  readonly identity: DeviceIdentity;
  readonly trustVersion: TrustVersion;
}

export class ModelDevice {
  readonly realm: Realm;
  readonly id: DeviceId;
  /** Technicians mend devices. */
  conduct: Conduct;
  identity: DeviceIdentity;
  trustVersion: TrustVersion;
  lastSeq = Seq.parse(0);
  isOnline = false;
  /** Made and not yet handed to the network. */
  readonly outbox: MadeReport[] = [];
  /** When the device has to be asked again: a deferred activation, or refusals held back. */
  wakeAt: number | undefined;
  private readonly holdings: Holdings;
  private readonly busyFor: BusyFor;
  private holding: Holding;
  private busyUntil = 0;
  private lastDigest: Sha256 | undefined;
  private results: readonly UpdateResult[] = [];
  private told: readonly UpdateResult[] = [];
  /** The last report, until the broker has taken it. */
  private last: MadeReport | undefined;
  private lastReport: Sha256 | null = null;
  private counter = 0;
  private boot = 0;
  private bootId = '';
  private bootCounter = 0;
  private clockTrusted = false;
  private heldBack = false;
  private refusedAt = Number.NEGATIVE_INFINITY;
  /** When the latest reports were made, by their counter. */
  private readonly madeAt: number[] = Array.from({ length: NONCES_KEPT }, () => 0);

  constructor({ realm, id, conduct, busyFor, holdings, identity, trustVersion }: DeviceStart) {
    this.realm = realm;
    this.id = id;
    this.conduct = conduct;
    this.busyFor = busyFor;
    this.holdings = holdings;
    this.holding = holdings.none;
    this.identity = identity;
    this.trustVersion = trustVersion;
  }

  get keyrings(): readonly HeldKeyring[] {
    return this.holding.keyrings;
  }

  /** Its clock is not to be believed until the gateway has answered once. */
  powerOn(): void {
    this.boot += 1;
    this.bootId = bootIdAt(this.boot);
    this.bootCounter = this.counter;
    this.clockTrusted = false;
    this.told = [];
    this.refusedAt = Number.NEGATIVE_INFINITY;
    this.heldBack = false;
    this.wakeAt = undefined;
  }

  /** A report that nobody acknowledged goes first, then a fresh one. */
  connected(now: number): void {
    if (this.last !== undefined) this.outbox.push(this.last);
    this.report(now);
    if (this.keyrings.some(({ deferred }) => deferred !== undefined)) this.wakeBy(Math.max(this.busyUntil, now + 1));
  }

  /** The broker has taken this report. */
  acknowledge({ report }: MadeReport): void {
    if (report.counter === this.counter) this.last = undefined;
    this.told = report.results;
  }

  /** Walks trust link by link; each link is a change of its own. */
  takeLinks(from: TrustVersion, to: TrustVersion, now: number): void {
    for (let link = Math.max(from, this.trustVersion) + 1; link <= to; link += 1) {
      this.trustVersion = TrustVersion.parse(link);
      this.report(now);
    }
  }

  /** `latest`: what the public listener has to offer, should links be missing. `digest` stands for that of the bytes. */
  takeUpdate(update: Update, digest: Sha256, latest: TrustVersion, now: number): void {
    if (update.trustVersion > this.trustVersion && latest > this.trustVersion) {
      this.trustVersion = latest;
      this.report(now);
    }
    if (update.seq > this.lastSeq && this.isFresh(update.nonce, now)) this.clockTrusted = true;
    const time = { now: new Date(now), trusted: this.clockTrusted, floor: new Date(this.clockTrusted ? now : 0) };
    const decision = decideUpdate(this.facts(), update, digest, time);
    switch (decision.kind) {
      case 'apply':
        this.apply(update, digest, now);
        return;
      case 'repeat':
        // One that was taken already is not kept: a fresh report says the same.
        if (this.last === undefined) this.report(now);
        else this.outbox.push(this.last);
        return;
      case 'walk-trust':
        this.refuse(update.seq, 'trust.link-missing', now);
        return;
      case 'refuse':
        this.refuse(update.seq, decision.code, now);
    }
  }

  /** The time it asked to be woken at has come. */
  wake(now: number): void {
    this.wakeAt = undefined;
    if (this.heldBack) {
      this.heldBack = false;
      this.report(now);
    }
    if (this.keyrings.every(({ deferred }) => deferred === undefined)) return;
    const retried = retryDeferred(this.keyrings, this.busy(), new Date(now));
    if (retried === undefined) {
      this.wakeBy(Math.max(this.busyUntil, now + 1));
      return;
    }
    this.holding = this.holdings.of(retried.keyrings);
    this.results = retried.results.reduce(withResult, [...this.results]);
    this.report(now);
  }

  /** A report of what it holds. */
  report(now: number): void {
    // Without a connection none is made: the one on connecting tells everything.
    if (!this.isOnline) return;
    if (this.results.length > 0) this.results = this.results.filter((result) => !this.told.includes(result));
    this.counter += 1;
    const report: Report = {
      v: 1,
      type: 'report',
      realm: this.realm,
      device: this.id,
      bootId: this.bootId,
      counter: this.counter,
      nonce: nonceAt(this.counter),
      lastSeq: this.lastSeq,
      trustVersion: this.trustVersion,
      identity: this.identity,
      keyrings: this.holding.reported,
      results: this.results.length === 0 ? NO_RESULTS : [...this.results],
      clock: { now: minuteOf(now), trusted: this.clockTrusted },
      agent: AGENT,
      previous: this.lastReport,
    };
    this.madeAt[this.counter % NONCES_KEPT] = now;
    this.lastReport = digestAt(this.counter);
    this.last = { report, digest: this.lastReport };
    this.outbox.push(this.last);
  }

  private apply(update: Update, digest: Sha256, now: number): void {
    if (this.conduct === 'refuses' && update.keyrings.length > 0) {
      this.refuse(update.seq, 'envelope.wrong-recipient', now);
      return;
    }
    const wanted = this.conduct === 'hoards' ? this.withoutActivation(update) : update;
    try {
      checkKeyrings(this.keyrings, wanted);
    } catch (error) {
      this.refuse(update.seq, errorCode(error), now);
      return;
    }
    this.results = withResult(this.results, this.changeKeyrings(wanted, now));
    this.lastSeq = update.seq;
    this.lastDigest = digest;
    this.report(now);
  }

  private changeKeyrings(update: Update, now: number): UpdateResult {
    // Most updates only tell the time.
    if (update.keyrings.length === 0) return { seq: update.seq, outcome: 'applied' };
    this.askApplication(update, now);
    const after = applyKeyrings(this.keyrings, update, openedKeys(update), this.busy(), new Date(now));
    this.holding = this.holdings.of(after.keyrings);
    if (after.result.outcome === 'deferred') this.wakeBy(this.busyUntil);
    return after.result;
  }

  private refuse(seq: Seq, code: string, now: number): void {
    this.results = withResult(this.results, { seq, outcome: 'refused', code });
    if (now - this.refusedAt >= REFUSAL_INTERVAL_MS) {
      this.refusedAt = now;
      this.report(now);
      return;
    }
    this.heldBack = true;
    this.wakeBy(this.refusedAt + REFUSAL_INTERVAL_MS);
  }

  private wakeBy(at: number): void {
    this.wakeAt = Math.min(this.wakeAt ?? at, at);
  }

  /** An application that is free says so once for all that the update brings. */
  private askApplication(update: Update, now: number): void {
    if (this.conduct !== 'busy' || this.busyUntil > now) return;
    const activates = update.keyrings.some(
      ({ keySet, active }) => active !== this.keyrings.find((ring) => ring.keySet === keySet)?.active,
    );
    if (activates) this.busyUntil = now + this.busyFor();
  }

  private busy(): BusyOracle | undefined {
    const until = this.busyUntil;
    return this.conduct === 'busy'
      ? { busyUntil: (_, now) => (until > now.getTime() ? new Date(until) : undefined) }
      : undefined;
  }

  /** The update as it would be if the version in use could stay so. */
  private withoutActivation(update: Update): Update {
    const keyrings = update.keyrings.map((wanted) => {
      const active = this.keyrings.find(({ keySet }) => keySet === wanted.keySet)?.active ?? null;
      return active !== null && wanted.accept.includes(active) ? { ...wanted, active } : wanted;
    });
    return { ...update, keyrings };
  }

  private isFresh(nonce: string | null, now: number): boolean {
    if (nonce === null) return false;
    const counter = counterOf(nonce);
    if (counter <= this.bootCounter || counter <= this.counter - NONCES_KEPT) return false;
    return now - (this.madeAt[counter % NONCES_KEPT] ?? 0) < NONCE_LIFE_MS;
  }

  private facts() {
    const { realm, id: device, lastSeq, lastDigest, trustVersion } = this;
    return { realm, device, lastSeq, lastDigest, trustVersion };
  }
}

function openedKeys(update: Update): OpenedByKeySet {
  const opened = new Map<KeySetName, OpenedKeys>();
  for (const { keySet, keys } of update.keyrings) {
    const versions = new Map<KeyVersionNumber, Uint8Array>();
    for (const { version } of keys) versions.set(version, NO_BYTES);
    opened.set(keySet, versions);
  }
  return opened;
}
