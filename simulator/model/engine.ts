/** The floor under a virtual clock: what happens, in the order of its time. The gateway's part is its own decisions. */
import { DECISIONS, type Decisions } from './decisions.ts';
import type { MadeReport } from './device.ts';
import { EventQueue } from './event-queue.ts';
import { Looks } from './looks.ts';
import { absence, nextDeparture, type Departure } from './habits.ts';
import { composeModelUpdate } from './compose.ts';
import { renewBeforeConnecting, renewsIfAsked } from './identity.ts';
import type { ModelNode, OpenRollout } from './node.ts';
import { World, type WorldListener } from './world.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { isOnItsWay } from '#gateway/rollout/begin.ts';
import { answerBy, askedStates, judgesAbsence } from '#gateway/rollout/unanswered.ts';
import { targetsOf, selectorOf } from '#gateway/rollout/targets.ts';
import { createWindows, type SiteWindows } from '#gateway/rollout/window.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { Realm, RolloutId, TrustVersion } from '#schema/ids.ts';
import type { Policy } from '#schema/policy.ts';

/** What the engine tells about, beside what the world does. */
export interface EngineListener extends WorldListener {
  sent(node: ModelNode, links: number): void;
  lost(node: ModelNode, what: 'update' | 'report'): void;
  reported(node: ModelNode, made: MadeReport, outcome: 'accepted' | 'ignored' | 'quarantine' | 'refused'): void;
  /** What the device holds may have changed. */
  deviceChanged(node: ModelNode): void;
  connected(node: ModelNode, absence: number): void;
}

class Silent implements EngineListener {
  due(): void {}
  moved(): void {}
  targetStep(): void {}
  rolloutStep(): void {}
  versionsChanged(): void {}
  sent(): void {}
  lost(): void {}
  reported(): void {}
  deviceChanged(): void {}
  connected(): void {}
}

export interface EngineOptions {
  readonly realm: Realm;
  readonly policy: Policy;
  readonly start: Date;
  readonly trust: TrustVersion;
  readonly decisions?: Partial<Decisions>;
}

const DEPART = 0;
const RETURN = 1;
const DUE = 2;
const TURN = 3;
const DELIVER = 4;
const ARRIVE = 5;
const WAKE = 6;
const HEARTBEAT = 7;
const RENEW = 8;
const OFFLINE = 9;
const LOOK = 10;
const ERRAND = 11;
const GIVE_UP = 12;

/** Least and most milliseconds of a message's way; a device needs some of them to store what it was sent. */
const WAY_MS = [20, 400] as const;
/** A broker believes in a silent connection for one and a half keepalives. */
const SILENCE_MS = 90_000;
/** As in device-agent/options.ts. */
const REPORT_INTERVAL_MS = 15 * 60_000;
/** Updates that the gateway seals and signs in a second. */
const UPDATES_PER_SECOND = 1_000;
/** While the rollout is paused, nobody is given up. */
const GIVE_UP_AGAIN_MS = 60_000;
/** How long after a change a rollout is looked at. Reports come by the hundred; presence changes all day. */
const SETTLE_MS = { target: 1_000, presence: 60_000 } as const;
/** Once a change is in use, nobody waits for the next step, and who is connected decides nothing any more. */
const SETTLE_IN_USE_MS = { target: 60_000, presence: 3_600_000 } as const;

export class Engine {
  readonly realm: Realm;
  readonly policy: Policy;
  readonly world: World;
  readonly windows: SiteWindows;
  /** Milliseconds since 1970. */
  now: number;
  events = 0;
  private readonly queue = new EventQueue();
  private readonly looks = new Looks();
  readonly decisions: Decisions;
  /** Told of everything; to be set before the first event. */
  listener: EngineListener = new Silent();
  private readonly errands: (() => void)[] = [];
  private nextTurn: number;
  private moment: Date;

  constructor({ realm, policy, start, trust, decisions = {} }: EngineOptions) {
    this.realm = realm;
    this.policy = policy;
    this.now = start.getTime();
    this.moment = start;
    this.nextTurn = this.now;
    this.windows = createWindows(policy.rollouts.windows);
    this.decisions = { ...DECISIONS, ...decisions };
    this.world = new World(trust, {
      due: (node) => this.raised(node),
      moved: (open, by) => {
        this.lookAt(open, this.now + settling(open.record, by));
        this.listener.moved(open, by);
      },
      targetStep: (node, before, after) => this.listener.targetStep(node, before, after),
      rolloutStep: (before, after, tallies) => this.listener.rolloutStep(before, after, tallies),
      versionsChanged: (keySet, changes) => this.listener.versionsChanged(keySet, changes),
    });
  }

  get date(): Date {
    if (this.moment.getTime() !== this.now) this.moment = new Date(this.now);
    return this.moment;
  }

  /** Runs everything that happens until then. */
  runUntil(end: number): void {
    while (this.queue.next <= end) this.step();
    this.now = Math.max(this.now, end);
  }

  /** Time of the next event; infinite if nothing will happen. */
  get next(): number {
    return this.queue.next;
  }

  step(): void {
    const { queue } = this;
    if (!queue.pop()) return;
    this.now = Math.max(this.now, queue.at);
    this.events += 1;
    if (queue.kind === LOOK) return this.look();
    if (queue.kind === ERRAND) return this.errands[queue.subject]?.();
    if (queue.kind === DUE && this.looks.at(queue.subject) !== queue.at) return;
    const node = this.world.nodes[queue.subject];
    if (node !== undefined) this.happen(node, queue.kind, queue.mark);
  }

  /** Something that a person or the test does at that time. */
  at(time: number, errand: () => void): void {
    this.errands.push(errand);
    this.queue.push(Math.max(time, this.now), ERRAND, this.errands.length - 1);
  }

  // Devices come and go.

  switchOn(node: ModelNode, after = 0): void {
    this.queue.push(this.now + after, RETURN, node.index, node.line.connection);
  }

  /** `told`: whether the broker learns at once that the line is down. */
  depart(node: ModelNode, how: Departure, told = false): void {
    const { line, device } = node;
    if (!line.isUp) return;
    line.isUp = false;
    device.isOnline = false;
    line.connection += 1;
    for (const _ of line.down) this.listener.lost(node, 'update');
    line.down.length = 0;
    line.up.length = 0;
    node.awaySince = this.now;
    node.hasPower = how === 'break';
    this.queue.push(this.now + (told ? 0 : SILENCE_MS), OFFLINE, node.index, line.connection);
  }

  /** Off the broker by an operator's word or the gateway's. */
  contain(node: ModelNode, code: ErrorCode): void {
    this.world.contain(node, code, this.date);
    this.depart(node, 'break', true);
  }

  release(node: ModelNode): void {
    this.world.contain(node, undefined, this.date);
    if (node.awaySince !== undefined && node.hasPower) this.switchOn(node, 1_000);
  }

  /** The report that every device makes now and then, whatever it has to tell. */
  reportRegularly(node: ModelNode): void {
    if (node.line.isUp) this.act(node, () => node.device.report(this.now));
  }

  private happen(node: ModelNode, kind: number, mark: number): void {
    const { line, agenda } = node;
    switch (kind) {
      case DEPART:
        if (mark === line.connection) this.leaveByHabit(node);
        return;
      case RETURN:
        if (mark === line.connection && !line.isUp) this.arrive(node);
        return;
      case OFFLINE:
        if (mark === line.connection && !line.isUp) this.notThere(node);
        return;
      case GIVE_UP:
        if (mark === line.connection && !line.isUp) this.giveUpVanished(node);
        return;
      case DUE:
        return this.fallDue(node);
      case TURN:
        agenda.isInTurn = false;
        return this.dispatch(node);
      case DELIVER:
        if (mark === line.connection) this.deliver(node);
        return;
      case ARRIVE:
        if (mark === line.connection) this.reportArrives(node);
        return;
      case WAKE:
        return this.wake(node);
      case HEARTBEAT:
        if (mark === line.connection) this.reportRegularly(node);
        return;
      case RENEW:
        return this.renewIfDue(node);
      default:
    }
  }

  private notThere(node: ModelNode): void {
    this.world.setPresence(node, false, this.date);
    this.giveUpVanished(node);
  }

  /** What the gateway's driver does for all at once: the time of one that left after it was asked ends. */
  private giveUpVanished({ index, line, state }: ModelNode): void {
    for (const { rollout, target } of state.rollouts) {
      if (rollout.state !== 'distributing') continue;
      if (target === undefined || !askedStates(rollout.kind).includes(target.state)) continue;
      const by = answerBy(rollout, target) ?? this.now;
      if (by < this.now && judgesAbsence(rollout)) {
        this.world.changeTargets(rollout.id, this.date, [target.device], (current, targets) =>
          this.decisions.vanished(current, targets, this.date),
        );
      } else this.queue.push(Math.max(by + 1, this.now + GIVE_UP_AGAIN_MS), GIVE_UP, index, line.connection);
    }
  }

  private leaveByHabit(node: ModelNode): void {
    const how = node.departure ?? 'break';
    this.depart(node, how);
    this.switchOn(node, absence(how, node.stream));
  }

  private arrive(node: ModelNode): void {
    const { device, line, stream, habit } = node;
    if (node.state.device.state.kind !== 'enrolled') return;
    const away = node.awaySince === undefined ? 0 : this.now - node.awaySince;
    if (!node.hasPower) device.powerOn();
    node.hasPower = true;
    const waits = renewBeforeConnecting(this.world, this.policy, node, this.date);
    if (waits > 0) {
      this.switchOn(node, waits);
      return;
    }
    this.scheduleRenewal(node);
    node.awaySince = undefined;
    line.connection += 1;
    line.isUp = true;
    device.isOnline = true;
    line.downAt = this.now;
    line.upAt = this.now;
    this.world.setPresence(node, true, this.date);
    this.listener.connected(node, away);
    this.act(node, () => device.connected(this.now));
    const departure = nextDeparture(habit, stream);
    node.departure = departure?.how;
    if (departure !== undefined) this.queue.push(this.now + departure.after, DEPART, node.index, line.connection);
  }

  // The gateway sends.

  private raised(node: ModelNode): void {
    const { dueAt, connected } = node.state.sync;
    if (!connected || dueAt === undefined || node.agenda.isInTurn) return;
    const at = dueAt.getTime();
    if (at <= this.now) return this.takeTurn(node);
    if (at >= this.looks.at(node.index)) return;
    this.looks.set(node.index, at);
    this.queue.push(at, DUE, node.index);
  }

  private takeTurn({ agenda, index }: ModelNode): void {
    const turn = Math.max(this.now, this.nextTurn);
    this.nextTurn = turn + 1_000 / UPDATES_PER_SECOND;
    agenda.isInTurn = true;
    this.looks.clear(index);
    this.queue.push(turn, TURN, index);
  }

  private fallDue(node: ModelNode): void {
    this.looks.clear(node.index);
    this.raised(node);
  }

  private isDue(node: ModelNode): boolean {
    const { dueAt, connected } = node.state.sync;
    return connected && dueAt !== undefined && dueAt.getTime() <= this.now;
  }

  private dispatch(node: ModelNode): void {
    if (!this.isDue(node)) return this.raised(node);
    const now = this.date;
    const outcome = this.decisions.dispatch(node.state, { now, windows: this.windows }, this.policy.delivery);
    this.world.dispatch(node, outcome);
    if (outcome.kind !== 'send') return;
    this.world.recordOffers(node, outcome.update, now);
    const sent = composeModelUpdate(this.realm, outcome.update, now, this.policy.delivery.updateValidity);
    this.listener.sent(node, sent.linksTo - sent.linksFrom);
    const { line } = node;
    if (!line.isUp) return this.listener.lost(node, 'update');
    line.down.push(sent);
    line.downAt = Math.max(line.downAt, this.now + node.stream.between(...WAY_MS));
    this.queue.push(line.downAt, DELIVER, node.index, line.connection);
  }

  // The device takes and reports.

  private deliver(node: ModelNode): void {
    const { line, device } = node;
    const sent = line.down.shift();
    if (sent === undefined) return;
    if (node.stream.chance(node.habit.loss)) {
      this.listener.lost(node, 'update');
      this.heartbeat(node);
      return;
    }
    this.act(node, () => {
      device.takeLinks(sent.linksFrom, sent.linksTo, this.now);
      device.takeUpdate(sent.update, sent.digest, this.world.trustLatest, this.now);
    });
    const { renew: asked } = sent.update;
    if (asked !== undefined) this.askedToRenew(node, new Date(asked.by));
  }

  private wake(node: ModelNode): void {
    const { device } = node;
    if (device.wakeAt === undefined || device.wakeAt > this.now || !node.hasPower) return;
    this.act(node, () => device.wake(this.now));
  }

  /** Lets the device do something and takes along what it has to say. */
  private act(node: ModelNode, what: () => void): void {
    const { device, line } = node;
    const { wakeAt } = device;
    what();
    this.listener.deviceChanged(node);
    if (device.wakeAt !== undefined && device.wakeAt !== wakeAt) this.queue.push(device.wakeAt, WAKE, node.index);
    for (const made of device.outbox) {
      line.up.push(made);
      line.upAt = Math.max(line.upAt, this.now + node.stream.between(...WAY_MS));
      this.queue.push(line.upAt, ARRIVE, node.index, line.connection);
    }
    device.outbox.length = 0;
  }

  private reportArrives(node: ModelNode): void {
    const made = node.line.up.shift();
    if (made === undefined) return;
    node.device.acknowledge(made);
    if (node.stream.chance(node.habit.loss)) {
      this.listener.lost(node, 'report');
      this.heartbeat(node);
      return;
    }
    const { report, digest } = made;
    const certificate =
      node.state.identity?.serial === report.identity.serial ? node.state.identity : node.formerIdentity;
    if (certificate === undefined) return;
    const verified = { report, digest, certificate, address: undefined, receivedAt: this.date };
    const outcome = this.decisions.report(node.state, verified, this.policy.delivery, this.windows);
    if (outcome.kind === 'accepted') this.world.accept(node, report, digest, outcome, this.date);
    if (node.state.sync.dueAt === undefined) this.looks.clear(node.index);
    this.listener.reported(node, made, outcome.kind);
    if (outcome.kind === 'quarantine') this.contain(node, outcome.code);
  }

  /**
   * A report that would tell nothing new is left out of the model. This one follows a message that was lost: until then
   * one side may not know what the other one does.
   */
  private heartbeat(node: ModelNode): void {
    this.queue.push(this.now + REPORT_INTERVAL_MS, HEARTBEAT, node.index, node.line.connection);
  }

  // Certificates.

  private askedToRenew(node: ModelNode, by: Date): void {
    const { agenda, state } = node;
    if (state.identity === undefined) return;
    agenda.renewAt = Math.min(agenda.renewAt, renewsIfAsked(state.identity, by, this.date));
    this.scheduleRenewal(node);
  }

  /** Once for each certificate, and again when it is to be earlier. */
  private scheduleRenewal({ agenda, index }: ModelNode): void {
    if (agenda.renewScheduled === agenda.renewAt) return;
    agenda.renewScheduled = agenda.renewAt;
    this.queue.push(agenda.renewAt, RENEW, index);
  }

  private renewIfDue(node: ModelNode): void {
    if (node.agenda.renewAt > this.now || !node.line.isUp) return;
    // The new certificate is shown on a new connection.
    this.depart(node, 'break', true);
    this.switchOn(node, node.stream.between(...WAY_MS));
  }

  // Rollouts.

  private lookAt(open: OpenRollout, at: number): void {
    if (open.lookAt <= at) return;
    open.lookAt = at;
    this.queue.push(at, LOOK, 0);
  }

  private look(): void {
    for (const id of this.world.toLookAt(this.now)) this.advance(id);
  }

  private advance(id: RolloutId): void {
    const { world } = this;
    this.prepare(id);
    for (;;) {
      const now = this.date;
      const outcome = world.advanceRollout(id, now, (rollout, keySet, tallies) =>
        rollout === undefined
          ? { kind: 'stay', until: undefined }
          : this.decisions.progress(rollout, keySet, tallies, now),
      );
      if (outcome.kind === 'advance') continue;
      const open = outcome.kind === 'stay' && outcome.until !== undefined ? world.openRollout(id) : undefined;
      if (open !== undefined && outcome.kind === 'stay') this.lookAt(open, outcome.until?.getTime() ?? this.now);
      return;
    }
  }

  private prepare(id: RolloutId): void {
    const { world } = this;
    const rollout = world.rollout(id);
    if (rollout === undefined || rollout.finishedAt !== undefined || rollout.preparedAt !== undefined) return;
    const selector = selectorOf(rollout, world.keySetOf(rollout));
    world.addTargets(id, targetsOf(rollout, selector, world.planDevices(selector)), this.date);
    world.advanceRollout(id, this.date, (current) =>
      current === undefined
        ? { kind: 'stay', until: undefined }
        : {
            kind: 'advance',
            rollout: { ...current, preparedAt: this.date },
            versions: [],
            due: current.state === 'active' ? 'all' : 'none',
            audit: [],
          },
    );
  }
}

const settling = (rollout: RolloutRecord, by: 'target' | 'presence'): number =>
  (isOnItsWay(rollout) ? SETTLE_MS : SETTLE_IN_USE_MS)[by];
