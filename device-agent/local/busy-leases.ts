/**
 * Busy leases: how an application says "do not switch keys under me" (credits on the meter, a payment half done).
 *
 * A lease always ends: it has a greatest length and is renewed by asking again, so a crashed application cannot hold
 * a rotation up for ever. Its end is kept on the monotonic clock: a wrong or stepping wall clock neither ends a lease
 * early nor stretches it.
 */
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { KeySetName } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { BusyOracle } from '../view.ts';

/** Names one application, so that several on a device do not end each other's leases. */
export const LeaseHolder = z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/, 'not a holder name');

export const DEFAULT_LEASE_HOLDER = 'application';

/** What an application asks for: its end either as a time or as a length. */
export const BusyRequest = z
  .strictObject({
    holder: LeaseHolder.default(DEFAULT_LEASE_HOLDER),
    /** Without it the lease covers every key set. */
    keySet: KeySetName.optional(),
    /** RFC 3339. */
    until: z.iso.datetime({ offset: true }).optional(),
    seconds: z.number().positive().max(1_000_000).optional(),
    reason: z.string().regex(/^\P{Cc}{1,200}$/u, 'not 1 to 200 printable characters'),
  })
  .refine((request) => (request.until === undefined) !== (request.seconds === undefined), {
    error: 'exactly one of until and seconds is needed',
  });
export type BusyRequest = z.infer<typeof BusyRequest>;

export interface BusyLease {
  readonly holder: string;
  /** Null covers every key set. */
  readonly keySet: KeySetName | null;
  readonly reason: string;
  /** On the monotonic clock, in milliseconds. */
  readonly endsAt: number;
}

export interface BusyLimits {
  readonly maxLeaseMs: number;
  readonly maxLeases: number;
}

export const DEFAULT_BUSY_LIMITS: BusyLimits = { maxLeaseMs: 3_600_000, maxLeases: 64 };

export interface Instant {
  readonly wall: Date;
  readonly monotonic: number;
}

const isSame = (lease: BusyLease, holder: string, keySet: KeySetName | null): boolean =>
  lease.holder === holder && lease.keySet === keySet;

const unexpired = (leases: readonly BusyLease[], monotonic: number): BusyLease[] =>
  leases.filter((lease) => lease.endsAt > monotonic);

/**
 * The leases after `request`: a new one, or the same holder's lease on the same key set renewed (longer or shorter).
 * Errors: `input.invalid` when the end is not ahead or further ahead than the limit; `input.too-large` for too many.
 */
export function grantLease(
  leases: readonly BusyLease[],
  request: BusyRequest,
  at: Instant,
  limits: BusyLimits,
): { readonly leases: readonly BusyLease[]; readonly granted: BusyLease } {
  const length =
    request.seconds === undefined ? Date.parse(request.until ?? '') - at.wall.getTime() : request.seconds * 1_000;
  if (!(length > 0)) throw new CroupierError('input.invalid', 'the lease would end before it begins; name a later end');
  if (length > limits.maxLeaseMs) {
    const seconds = Math.floor(limits.maxLeaseMs / 1_000);
    throw new CroupierError('input.invalid', `a lease lasts at most ${seconds} seconds; ask again before it ends`);
  }
  const keySet = request.keySet ?? null;
  const others = unexpired(leases, at.monotonic).filter((lease) => !isSame(lease, request.holder, keySet));
  if (others.length >= limits.maxLeases) {
    throw new CroupierError('input.too-large', `there are ${limits.maxLeases} busy leases already; end one first`);
  }
  const granted: BusyLease = { holder: request.holder, keySet, reason: request.reason, endsAt: at.monotonic + length };
  return { leases: [...others, granted], granted };
}

/** Milliseconds until no lease covers the key set; undefined when none does now. */
export function busyRemaining(leases: readonly BusyLease[], keySet: KeySetName, monotonic: number): number | undefined {
  const ends = unexpired(leases, monotonic)
    .filter((lease) => lease.keySet === null || lease.keySet === keySet)
    .map((lease) => lease.endsAt - monotonic);
  return ends.length === 0 ? undefined : Math.max(...ends);
}

/** A lease as the socket shows it. */
export interface BusyLeaseDocument {
  readonly holder: string;
  readonly keySet: KeySetName | null;
  readonly reason: string;
  /** RFC 3339, by the wall clock of now. */
  readonly until: string;
  readonly seconds: number;
}

/** A lease as it outlives the process: its end by the wall clock. */
export interface RememberedLease {
  readonly holder: string;
  readonly keySet: KeySetName | null;
  readonly reason: string;
  readonly until: string;
}

/** Where leases outlive the process. */
export interface LeaseMemory {
  load(): readonly RememberedLease[];
  save(leases: readonly RememberedLease[]): void;
}

/**
 * Leases of the run before that have not ended. A clock that was wrong on either side of the restart cannot make one
 * longer than the limit.
 */
export function restoreLeases(
  remembered: readonly RememberedLease[],
  at: Instant,
  limits: BusyLimits,
): readonly BusyLease[] {
  const restored = remembered.slice(0, limits.maxLeases).map(({ holder, keySet, reason, until }) => {
    const length = Math.min(Date.parse(until) - at.wall.getTime(), limits.maxLeaseMs);
    return { holder, keySet, reason, endsAt: at.monotonic + length };
  });
  return unexpired(restored, at.monotonic);
}

/** The leases of one agent: the core above with a clock, and a memory if they are to outlive the process. */
export class BusyLeases implements BusyOracle {
  readonly #clock: Clock;
  readonly #limits: BusyLimits;
  readonly #memory: LeaseMemory | undefined;
  #leases: readonly BusyLease[];

  constructor(clock: Clock, limits: Partial<BusyLimits> = {}, memory?: LeaseMemory) {
    this.#clock = clock;
    this.#limits = { ...DEFAULT_BUSY_LIMITS, ...limits };
    this.#memory = memory;
    this.#leases = restoreLeases(memory?.load() ?? [], this.#now(), this.#limits);
  }

  /** See `grantLease`. */
  put(request: BusyRequest): BusyLeaseDocument {
    const at = this.#now();
    const { leases, granted } = grantLease(this.#leases, request, at, this.#limits);
    this.#replace(leases, at);
    return leaseDocument(granted, at);
  }

  /** Ends the holder's leases: the one on `keySet` (null: the one on all), or every one of them when it is undefined. */
  release(holder: string, keySet?: KeySetName | null): number {
    const at = this.#now();
    const before = unexpired(this.#leases, at.monotonic);
    const after = before.filter(
      (lease) => !(keySet === undefined ? lease.holder === holder : isSame(lease, holder, keySet)),
    );
    this.#replace(after, at);
    return before.length - after.length;
  }

  list(): readonly BusyLeaseDocument[] {
    const at = this.#now();
    return unexpired(this.#leases, at.monotonic).map((lease) => leaseDocument(lease, at));
  }

  busyUntil(keySet: KeySetName, now: Date): Date | undefined {
    const remaining = busyRemaining(this.#leases, keySet, this.#clock.monotonic());
    return remaining === undefined ? undefined : new Date(Math.ceil(now.getTime() + remaining));
  }

  #now(): Instant {
    return { wall: this.#clock.now(), monotonic: this.#clock.monotonic() };
  }

  #replace(leases: readonly BusyLease[], at: Instant): void {
    this.#memory?.save(
      leases.map((lease) => {
        const { holder, keySet, reason, until } = leaseDocument(lease, at);
        return { holder, keySet, reason, until };
      }),
    );
    this.#leases = leases;
  }
}

function leaseDocument({ holder, keySet, reason, endsAt }: BusyLease, at: Instant): BusyLeaseDocument {
  const remaining = endsAt - at.monotonic;
  const until = new Date(at.wall.getTime() + remaining).toISOString();
  return { holder, keySet, reason, until, seconds: Math.ceil(remaining / 1_000) };
}
