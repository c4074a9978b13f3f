/** The devices of a model run, from its seed: what they are, how they behave, and what the gateway knows of them. */
import { z } from 'zod';
import type { Realm, TrustVersion } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';
import type { Composition } from '../floor/composition.ts';
import { planFloor, type DevicePlan } from '../floor/plan.ts';
import { ModelDevice, type Conduct } from './device.ts';
import { Holdings } from './holdings.ts';
import { FIXED, FLAKY, STEADY, WANDERER, type Habit } from './habits.ts';
import { certificateOf, classOf, identityOf, renewsAt } from './identity.ts';
import { ALONE, isOf, type Lanes } from './lanes.ts';
import type { ModelNode } from './node.ts';
import { NO_ROWS } from './shared-rows.ts';
import { Stream } from './stream.ts';
import type { World } from './world.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const Share = z.number().min(0).max(1);
/** Shares of the floor, services apart. */
export const Shares = z.strictObject({
  wanderers: Share,
  flaky: Share,
  busy: Share,
  refuses: Share,
  hoards: Share,
});
export type Shares = z.infer<typeof Shares>;

export const ORDINARY: Shares = { wanderers: 0.06, flaky: 0.005, busy: 0.1, refuses: 0.0002, hoards: 0.0002 };

export interface Character {
  readonly habit: Habit;
  readonly conduct: Conduct;
}

const FEWEST_SERVICES = 2;
const BUSY_MS = [MINUTE, 4 * HOUR] as const;

/** As the floors of real agents are composed, and larger. */
export function modelComposition(devices: number): Composition {
  const service = Math.max(FEWEST_SERVICES, Math.floor(devices / 1_000));
  const kiosk = Math.floor((devices * 15) / 100);
  const pos = Math.floor((devices * 9) / 100);
  return { egm: Math.max(0, devices - kiosk - pos - service), kiosk, pos, service };
}

/** Drawn from the seed: each device's habit and conduct. Servers have neither. */
export function ordinaryCharacter(shares: Shares): (plan: DevicePlan, stream: Stream) => Character {
  return (plan, stream) => {
    if (plan.class === 'service') return { habit: FIXED, conduct: 'ordinary' };
    const roams = stream.next();
    const acts = stream.next();
    const habit = roams < shares.wanderers ? WANDERER : roams < shares.wanderers + shares.flaky ? FLAKY : STEADY;
    return { habit, conduct: conductOf(acts, shares) };
  };
}

function conductOf(drawn: number, { refuses, hoards, busy }: Shares): Conduct {
  if (drawn < refuses) return 'refuses';
  if (drawn < refuses + hoards) return 'hoards';
  return drawn < refuses + hoards + busy ? 'busy' : 'ordinary';
}

export interface FloorOptions {
  readonly seed: string;
  readonly composition: Composition;
  readonly character: (plan: DevicePlan, stream: Stream) => Character;
}

export interface Population {
  readonly realm: Realm;
  readonly policy: Policy;
  readonly world: World;
  readonly start: Date;
  readonly trust: TrustVersion;
  readonly lanes?: Lanes;
}

/** Puts the lane's devices into the world: enrolled some time ago, switched off, holding no key yet. */
export function populate(
  { realm, policy, world, start, trust, lanes = ALONE }: Population,
  { seed, composition, character }: FloorOptions,
): void {
  const holdings = new Holdings();
  for (const [number, plan] of planFloor({ seed, size: composition, now: start }).entries()) {
    const { id, row } = plan;
    world.enter({ id, class: row.class, site: row.site, labels: row.labels });
    if (!isOf(lanes, number)) continue;
    const stream = new Stream(seed, 'device', plan.id);
    const { habit, conduct } = character(plan, stream);
    const validity = classOf(policy, plan.row.class)?.validity ?? 365 * DAY;
    const enrolled = new Date(start.getTime() - Math.floor(stream.next() * validity * 0.6));
    const certificate = certificateOf(plan.id, 1, enrolled, validity);
    const device = new ModelDevice({
      realm,
      id: plan.id,
      conduct,
      busyFor: () => stream.between(...BUSY_MS),
      holdings,
      identity: identityOf(certificate),
      trustVersion: trust,
    });
    const node: ModelNode = {
      number,
      index: world.nodes.length,
      device,
      habit,
      stream,
      state: {
        device: { ...enrolledDevice(plan, enrolled), currentSerial: certificate.serial },
        sync: {
          device: plan.id,
          connected: false,
          address: undefined,
          lastSeenAt: undefined,
          seq: 0,
          lastSeq: 0,
          counter: 0,
          digest: undefined,
          nonce: undefined,
          nonceAnswered: false,
          clockTrusted: false,
          boots: [],
          reportedFrom: [],
          unexpected: undefined,
          trustVersion: trust,
          agentVersion: undefined,
          lastReportAt: undefined,
          dueAt: undefined,
          attempts: 0,
        },
        versions: NO_ROWS,
        keySets: [],
        rollouts: [],
        trustReleased: trust,
        identity: certificate,
        // The model's gateway never loses its database.
        memory: { sent: () => true, published: () => true },
      },
      line: { connection: 0, isUp: false, down: [], up: [], downAt: 0, upAt: 0 },
      agenda: { isInTurn: false, renewAt: renewsAt(certificate), renewScheduled: 0 },
      catchup: { since: undefined, absence: 0, messages: 0, allowance: 0, deferredUntil: undefined },
      awaySince: undefined,
      hasPower: false,
      isVouchedFor: false,
      isGivenUp: false,
      certificates: 1,
      departure: undefined,
      formerIdentity: undefined,
    };
    world.add(node);
  }
}

function enrolledDevice({ row, id }: DevicePlan, at: Date) {
  return {
    id,
    class: row.class,
    site: row.site,
    serialNumber: row.serial,
    labels: row.labels,
    state: { kind: 'enrolled' as const },
    stateSince: at,
    createdAt: at,
    nextSerial: undefined,
  };
}
