/**
 * What the devices themselves say, counted: the truth that the gateway's records are compared with. Everything here
 * follows the agents' own events; nothing is polled.
 */
import type { AgentEvent, AgentView } from '#agent/agent.ts';
import type { ErrorCode } from '#schema/errors.ts';
import type { DeviceId, KeySetName, KeyVersionNumber, Serial, TrustVersion } from '#schema/ids.ts';
import type { KeyringView } from '#agent/view.ts';
import type { DevicePlan } from './plan.ts';

export type ObservedPhase = 'off' | 'starting' | 'parked' | 'connected' | 'disconnected';

/** One device as it last told. */
export interface Observation {
  readonly plan: DevicePlan;
  readonly phase: ObservedPhase;
  /** Serial of the certificate held. */
  readonly serial: Serial | undefined;
  readonly trustVersion: TrustVersion | undefined;
  readonly keyrings: ReadonlyMap<KeySetName, KeyringView>;
  readonly isAtGoal: boolean;
}

/** Whether a device is where it should be. */
export type Goal = (device: Observation) => boolean;

export interface ObservedFault {
  readonly device: DeviceId;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface FloorCounts {
  readonly phases: Readonly<Record<ObservedPhase, number>>;
  /** Devices that hold a certificate. */
  readonly enrolled: number;
  readonly atGoal: number;
  /** Events since the floor was made. */
  readonly enrolments: number;
  readonly connections: number;
  readonly updates: number;
  readonly repeatedUpdates: number;
  readonly refusedUpdates: number;
  readonly deferredUpdates: number;
  readonly reports: number;
  readonly reportOctets: number;
  readonly renewals: number;
  readonly clocksSet: number;
  readonly faults: number;
}

const FAULTS_KEPT = 200;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Somebody who hears what devices say at the moment that they say it. */
export interface Witness {
  notePower(id: DeviceId, isOn: boolean): void;
  noteEvent(id: DeviceId, event: AgentEvent): void;
  noteView(id: DeviceId, view: AgentView): void;
}

interface Waiter {
  readonly isDone: () => boolean;
  readonly resolve: () => void;
}

export class FloorObserver implements Witness {
  private readonly devices = new Map<DeviceId, Mutable<Observation>>();
  private readonly phases: Record<ObservedPhase, number> = {
    off: 0,
    starting: 0,
    parked: 0,
    connected: 0,
    disconnected: 0,
  };
  private readonly tally = {
    enrolments: 0,
    connections: 0,
    updates: 0,
    repeatedUpdates: 0,
    refusedUpdates: 0,
    deferredUpdates: 0,
    reports: 0,
    reportOctets: 0,
    renewals: 0,
    clocksSet: 0,
    faults: 0,
  };
  private readonly codes = new Map<ErrorCode, number>();
  private readonly keptFaults: ObservedFault[] = [];
  private readonly waiters = new Set<Waiter>();
  private readonly listeners = new Set<() => void>();
  private readonly witnesses: Witness[] = [];
  private goal: Goal = () => false;
  private enrolled = 0;
  private atGoal = 0;

  constructor(plans: readonly DevicePlan[]) {
    for (const plan of plans) {
      this.devices.set(plan.id, {
        plan,
        phase: 'off',
        serial: undefined,
        trustVersion: undefined,
        keyrings: new Map(),
        isAtGoal: false,
      });
    }
    this.phases.off = plans.length;
  }

  counts(): FloorCounts {
    return { phases: { ...this.phases }, enrolled: this.enrolled, atGoal: this.atGoal, ...this.tally };
  }

  of(id: DeviceId): Observation | undefined {
    return this.devices.get(id);
  }

  all(): Iterable<Observation> {
    return this.devices.values();
  }

  /** The first faults that agents told, and updates that they refused. */
  faults(): readonly ObservedFault[] {
    return this.keptFaults;
  }

  /** How many faults there were of each kind. */
  faultCodes(): ReadonlyMap<ErrorCode, number> {
    return this.codes;
  }

  /** From now on devices are measured by this. */
  setGoal(goal: Goal): void {
    this.goal = goal;
    for (const device of this.devices.values()) this.judge(device);
    this.told();
  }

  /** Called after every change; returns what ends it. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Resolves with true as soon as `isDone`, which is asked after every change, or with false when nothing has changed
   * for `patienceMs` or `signal` aborts. `isDone` must be quick.
   */
  async until(isDone: () => boolean, patienceMs: number, signal?: AbortSignal): Promise<boolean> {
    if (isDone()) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const giveUp = (): void => resolve(false);
    const waiter: Waiter = { isDone, resolve: () => resolve(true) };
    this.waiters.add(waiter);
    let timer = setTimeout(giveUp, patienceMs);
    const stopListening = this.onChange(() => {
      timer.refresh();
    });
    signal?.addEventListener('abort', giveUp, { once: true });
    if (signal?.aborted === true) giveUp();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stopListening();
      this.waiters.delete(waiter);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** From now on `witness` hears everything, before it is counted here. */
  addWitness(witness: Witness): void {
    this.witnesses.push(witness);
  }

  notePower(id: DeviceId, isOn: boolean): void {
    for (const witness of this.witnesses) witness.notePower(id, isOn);
    this.change(id, (device) => this.enter(device, isOn ? 'starting' : 'off'));
  }

  /** The state as an agent has loaded or changed it. */
  noteView(id: DeviceId, view: AgentView): void {
    for (const witness of this.witnesses) witness.noteView(id, view);
    this.change(id, (device) => {
      const serial = view.identity()?.serial;
      if (device.serial === undefined && serial !== undefined) this.enrolled += 1;
      device.serial = serial;
      device.trustVersion = view.trust()?.version;
      device.keyrings = new Map(view.keyrings().map((keyring) => [keyring.keySet, keyring]));
    });
  }

  noteEvent(id: DeviceId, event: AgentEvent): void {
    for (const witness of this.witnesses) witness.noteEvent(id, event);
    this.change(id, (device) => this.take(device, event));
  }

  noteFault(fault: ObservedFault): void {
    this.tally.faults += 1;
    this.codes.set(fault.code, (this.codes.get(fault.code) ?? 0) + 1);
    if (this.keptFaults.length < FAULTS_KEPT) this.keptFaults.push(fault);
    this.told();
  }

  private take(device: Mutable<Observation>, event: AgentEvent): void {
    const { tally } = this;
    switch (event.kind) {
      case 'enrolled':
        tally.enrolments += 1;
        break;
      case 'parked':
        this.enter(device, 'parked');
        break;
      case 'connected':
        tally.connections += 1;
        this.enter(device, 'connected');
        break;
      case 'disconnected':
        this.enter(device, 'disconnected');
        break;
      case 'update-applied':
        tally.updates += 1;
        if (event.deferred) tally.deferredUpdates += 1;
        break;
      case 'update-repeated':
        tally.repeatedUpdates += 1;
        break;
      case 'update-refused':
        tally.refusedUpdates += 1;
        this.noteFault({ device: device.plan.id, code: event.code, message: `refuses update ${event.seq}` });
        break;
      case 'report-sent':
        tally.reports += 1;
        tally.reportOctets += event.bytes;
        break;
      case 'renewed':
        tally.renewals += 1;
        break;
      case 'clock-trusted':
        tally.clocksSet += 1;
        break;
      case 'error':
        this.noteFault({ device: device.plan.id, code: event.code, message: `${event.activity}: ${event.message}` });
        break;
      case 'trust-advanced':
      case 'activated':
      case 'promoted':
        break;
    }
  }

  private enter(device: Mutable<Observation>, phase: ObservedPhase): void {
    // What an agent says while it is being switched off comes from a device that is off already.
    if (device.phase === 'off' && phase !== 'starting') return;
    this.phases[device.phase] -= 1;
    this.phases[phase] += 1;
    device.phase = phase;
  }

  private change(id: DeviceId, apply: (device: Mutable<Observation>) => void): void {
    const device = this.devices.get(id);
    if (device === undefined) return;
    apply(device);
    this.judge(device);
    this.told();
  }

  private judge(device: Mutable<Observation>): void {
    const isAtGoal = this.goal(device);
    if (isAtGoal !== device.isAtGoal) this.atGoal += isAtGoal ? 1 : -1;
    device.isAtGoal = isAtGoal;
  }

  private told(): void {
    for (const listener of this.listeners) listener();
    for (const waiter of this.waiters) if (waiter.isDone()) waiter.resolve();
  }
}

/** The version of a key set that a device uses for new work. */
export function activeOf(device: Observation, keySet: KeySetName): KeyVersionNumber | null | undefined {
  return device.keyrings.get(keySet)?.active;
}
