/**
 * The floor, or a lane of it, under a virtual clock: what happens, in the order of its time. The gateway's part is its own
 * decisions.
 */
import { DECISIONS, type Decisions } from './decisions.ts';
import type { MadeReport } from './device.ts';
import { Driver } from './driver.ts';
import { Errands } from './errands.ts';
import { EventQueue } from './event-queue.ts';
import { Looks } from './looks.ts';
import { absence, nextDeparture, type Departure } from './habits.ts';
import { composeModelUpdate } from './compose.ts';
import { ALONE, type Lanes } from './lanes.ts';
import { renewBeforeConnecting, renewsIfAsked } from './identity.ts';
import type { ModelNode, OpenRollout } from './node.ts';
import { World, type WorldListener } from './world.ts';
import { answerBy, askedStates, judgesAbsence } from '#gateway/rollout/unanswered.ts';
import { createWindows, type SiteWindows } from '#gateway/rollout/window.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { Realm, TrustVersion } from '#schema/ids.ts';
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
  /** The floor is in one part unless told otherwise. */
  readonly lanes?: Lanes;
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
const GIVE_UP = 10;

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
/** Numbers of a meeting before those of the rollouts. */
const AHEAD = 2;
const NEVER = Number.POSITIVE_INFINITY;

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
  private readonly errands = new Errands();
  private readonly driver: Driver;
  private readonly lanes: Lanes;
  /** Milliseconds from one update to the next. */
  private readonly pace: number;
  private nextTurn: number;
  private moment: Date;
  /** The rollouts that a meeting is about. */
  private readonly opened: OpenRollout[] = [];

  constructor({ realm, policy, start, trust, decisions = {}, lanes = ALONE }: EngineOptions) {
    this.realm = realm;
    this.policy = policy;
    this.now = start.getTime();
    this.moment = start;
    this.nextTurn = this.now;
    this.lanes = lanes;
    this.pace = (1_000 / UPDATES_PER_SECOND) * lanes.count;
    this.windows = createWindows(policy.rollouts.windows);
    this.decisions = { ...DECISIONS, ...decisions };
    this.world = new World(trust, lanes, {
      due: (node) => this.raised(node),
      moved: (open, by) => {
        this.driver.moved(open, by, this.now);
        this.listener.moved(open, by);
      },
      targetStep: (node, before, after) => this.listener.targetStep(node, before, after),
      rolloutStep: (before, after, tallies) => this.listener.rolloutStep(before, after, tallies),
      versionsChanged: (keySet, changes) => this.listener.versionsChanged(keySet, changes),
    });
    this.driver = new Driver(this.world, lanes, this.decisions.progress);
  }

  get date(): Date {
    if (this.moment.getTime() !== this.now) this.moment = new Date(this.now);
    return this.moment;
  }

  /**
   * Runs everything that happens until then. Devices go on by themselves as long as nothing that they do can concern the
   * whole floor; a look at the rollouts, or what a person does, waits until all lanes are there.
   */
  runUntil(end: number): void {
    for (;;) {
      const { device, rollout } = this.meet();
      const call = Math.min(rollout, this.errands.next);
      if (Math.min(device, call) > end) break;
      if (call <= device) this.attend(call);
      else this.runDevices(Math.min(call, end, this.driver.earliestAfter(device)));
    }
    this.now = Math.max(this.now, end);
  }

  /** Something that a person or the test does at that time. */
  at(time: number, errand: () => void): void {
    this.errands.add(Math.max(time, this.now), errand);
  }

  /** The lanes tell each other what comes next: when a device does something, and when a rollout is to be looked at. */
  private meet(): { readonly device: number; readonly rollout: number } {
    const { opened } = this;
    opened.length = 0;
    for (const open of this.world.openRollouts()) opened.push(open);
    const mine = new Float64Array(AHEAD + opened.length);
    mine[0] = this.queue.next;
    mine[1] = this.driver.lastMove;
    for (let place = 0; place < opened.length; place += 1) mine[AHEAD + place] = opened[place]?.lookAt ?? NEVER;
    let device = NEVER;
    let rollout = NEVER;
    let lastMove = -NEVER;
    for (const theirs of this.lanes.exchange(mine)) {
      device = Math.min(device, theirs[0] ?? device);
      lastMove = Math.max(lastMove, theirs[1] ?? lastMove);
      for (let place = 0; place < opened.length; place += 1) {
        const open = opened[place];
        if (open !== undefined) open.lookAt = Math.min(open.lookAt, theirs[AHEAD + place] ?? open.lookAt);
      }
    }
    for (const { lookAt } of opened) rollout = Math.min(rollout, lookAt);
    this.driver.pace(device, lastMove);
    return { device, rollout };
  }

  private attend(call: number): void {
    this.now = Math.max(this.now, call);
    if (this.lanes.index === 0) this.events += 1;
    this.driver.look(this.date);
    this.errands.run(this.now);
  }

  private runDevices(until: number): void {
    const { queue } = this;
    while (queue.next <= until && queue.pop()) {
      this.now = Math.max(this.now, queue.at);
      this.events += 1;
      if (queue.kind === DUE && this.looks.at(queue.subject) !== queue.at) continue;
      const node = this.world.nodes[queue.subject];
      if (node !== undefined) this.happen(node, queue.kind, queue.mark);
    }
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
    this.world.devices.contain(node, code, this.date);
    this.depart(node, 'break', true);
  }

  release(node: ModelNode): void {
    this.world.devices.contain(node, undefined, this.date);
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
    this.world.devices.setPresence(node, false, this.date);
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
    this.world.devices.setPresence(node, true, this.date);
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
    this.nextTurn = turn + this.pace;
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
    this.world.devices.dispatch(node, outcome);
    if (outcome.kind !== 'send') return;
    this.world.devices.recordOffers(node, outcome.update, now);
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
    if (outcome.kind === 'accepted') this.world.devices.accept(node, report, digest, outcome, this.date);
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
}
