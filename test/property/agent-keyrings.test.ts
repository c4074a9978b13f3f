/** I3 and I5 on the device: whatever is lost, doubled or reordered, a keyring never goes back and converges. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HeldKeyring } from '#agent/state/state.ts';
import { decideUpdate } from '#agent/update/decide.ts';
import { applyKeyrings, checkKeyrings, retryDeferred } from '#agent/update/keyrings.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId, KeySetName, KeyVersionNumber, Realm, Seq, Sha256, TrustVersion } from '#schema/ids.ts';
import type { Update } from '#schema/messages/update.ts';

const SET = KeySetName.parse('wallet-kek');
const NOON = new Date('2026-06-01T12:00:00.000Z');
const FAR = new Date('2027-06-01T12:00:00.000Z');
const number = (value: number): KeyVersionNumber => KeyVersionNumber.parse(value);
const digestOf = (seq: number): Sha256 => Sha256.parse(seq.toString(16).padStart(64, '0'));

type Step = 'distribute' | 'activate' | 'retire' | 'destroy';

interface Desired {
  readonly revision: number;
  readonly active: number | null;
  readonly accept: readonly number[];
  readonly destroyed: readonly number[];
  readonly latest: number;
}

/** What the gateway wants after each step of a key set's life. */
function lifeOf(steps: readonly Step[]): Desired[] {
  const life: Desired[] = [{ revision: 1, active: 1, accept: [1], destroyed: [], latest: 1 }];
  for (const step of steps) {
    const last = life.at(-1);
    if (last === undefined) break;
    const revision = last.revision + 1;
    const olds = last.accept.filter((version) => last.active !== null && version < last.active);
    const retired = Array.from({ length: last.latest }, (_, index) => index + 1).filter(
      (version) => !last.accept.includes(version) && !last.destroyed.includes(version),
    );
    if (step === 'distribute' && last.accept.length < 3) {
      life.push({ ...last, revision, accept: [...last.accept, last.latest + 1], latest: last.latest + 1 });
    } else if (step === 'activate') life.push({ ...last, revision, active: last.accept.at(-1) ?? null });
    else if (step === 'retire' && olds.length > 0) {
      life.push({ ...last, revision, accept: last.accept.filter((version) => version !== olds[0]) });
    } else if (step === 'destroy' && retired.length > 0) {
      life.push({ ...last, revision, destroyed: [...last.destroyed, ...retired.slice(0, 1)] });
    }
  }
  return life;
}

class Device {
  keyrings: readonly HeldKeyring[] = [];
  lastSeq = Seq.parse(0);
  lastDigest: Sha256 | undefined;
  isBusy = false;

  take(update: Update): string {
    const facts = {
      realm: Realm.parse('test'),
      device: DeviceId.parse('egm-1'),
      lastSeq: this.lastSeq,
      lastDigest: this.lastDigest,
      trustVersion: TrustVersion.parse(1),
    };
    const decision = decideUpdate(facts, update, digestOf(update.seq), { now: NOON, trusted: false, floor: NOON });
    if (decision.kind !== 'apply') return decision.kind;
    try {
      checkKeyrings(this.keyrings, update);
    } catch (error) {
      if (error instanceof CroupierError) return error.code;
      throw error;
    }
    const opened = new Map([
      [SET, new Map((update.keyrings[0]?.keys ?? []).map(({ version }) => [version, Buffer.alloc(32, version)]))],
    ]);
    const busy = { busyUntil: () => (this.isBusy ? FAR : undefined) };
    ({ keyrings: this.keyrings } = applyKeyrings(this.keyrings, update, opened, busy, NOON));
    this.lastSeq = update.seq;
    this.lastDigest = digestOf(update.seq);
    return 'applied';
  }

  becomeFree(): void {
    this.isBusy = false;
    this.keyrings = retryDeferred(this.keyrings, undefined, NOON)?.keyrings ?? this.keyrings;
  }

  get ring(): HeldKeyring | undefined {
    return this.keyrings[0];
  }
}

/** The update that closes the difference between what is wanted and what the device had reported. */
function updateFor(desired: Desired, seq: number, held: readonly number[]): Update {
  return {
    v: 1,
    type: 'update',
    realm: Realm.parse('test'),
    device: DeviceId.parse('egm-1'),
    seq: Seq.parse(seq),
    issuedAt: NOON.toISOString(),
    expiresAt: FAR.toISOString(),
    nonce: null,
    trustVersion: TrustVersion.parse(1),
    keyrings: [
      {
        keySet: SET,
        revision: desired.revision,
        active: desired.active === null ? null : number(desired.active),
        accept: desired.accept.map(number),
        destroy: desired.destroyed.map(number),
        keys: desired.accept
          .filter((version) => !held.includes(version))
          .map((version) => ({
            version: number(version),
            algorithm: 'AES-256',
            use: 'wrap',
            kcv: '0123456789',
            envelope: '',
          })),
      },
    ],
    time: NOON.toISOString(),
  };
}

const steps = fc.array(fc.constantFrom<Step>('distribute', 'activate', 'retire', 'destroy'), { maxLength: 20 });
/** Which message the network delivers next, by index; the same one may come often, some never. */
const network = fc.array(fc.record({ index: fc.nat(30), isBusy: fc.boolean(), isStale: fc.boolean() }), {
  maxLength: 60,
});

function assertNotBackwards(before: HeldKeyring | undefined, after: HeldKeyring | undefined): void {
  if (before === undefined) return;
  expect(after?.revision).toBeGreaterThanOrEqual(before.revision);
  const gone = after?.destroyed.map(({ version }) => version) ?? [];
  for (const { version } of before.destroyed) {
    expect(gone).toContain(version);
    expect(after?.versions.map((held) => held.version)).not.toContain(version);
  }
  for (const { version } of before.versions) {
    expect([...gone, ...(after?.versions.map((held) => held.version) ?? [])]).toContain(version);
  }
}

describe('given updates that are lost, doubled and reordered', () => {
  test('then the device never goes back, has one active version at most, and converges with the next answer', () => {
    fc.assert(
      fc.property(steps, network, (taken, deliveries) => {
        const life = lifeOf(taken);
        const device = new Device();
        for (const { index, isBusy, isStale } of deliveries) {
          const desired = life[index % life.length];
          if (desired === undefined) continue;
          device.isBusy = isBusy;
          const before = device.ring;
          const seqBefore = device.lastSeq;
          // Stale: the gateway had not seen what the device holds, and delivers everything again.
          const held = isStale ? [] : (device.ring?.versions.map(({ version }) => Number(version)) ?? []);
          device.take(updateFor(desired, desired.revision, held));
          expect(device.lastSeq).toBeGreaterThanOrEqual(seqBefore);
          assertNotBackwards(before, device.ring);
          const active = device.ring?.versions.filter(({ state }) => state === 'active') ?? [];
          expect(active.map(({ version }) => version)).toEqual(
            device.ring === undefined || device.ring.active === null ? [] : [device.ring.active],
          );
        }
        const wanted = life.at(-1);
        if (wanted === undefined) throw new Error('a life has a first step');
        const held = device.ring?.versions.map(({ version }) => Number(version)) ?? [];
        expect(device.take(updateFor(wanted, 1_000, held))).toBe('applied');
        device.becomeFree();
        const accepted = device.ring?.versions.filter(({ state }) => state !== 'retired').map(({ version }) => version);
        expect(accepted).toEqual([...wanted.accept]);
        expect(device.ring).toMatchObject({ active: wanted.active, revision: wanted.revision, deferred: undefined });
        for (const version of wanted.destroyed) {
          expect(device.ring?.destroyed.map((one) => Number(one.version))).toContain(version);
        }
      }),
      { numRuns: 300 },
    );
  });
});
