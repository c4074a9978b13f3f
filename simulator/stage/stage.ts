/** What scenarios share: a floor that has enrolled and settled, the gateway, its operators, and what is found on the way. */
import { setTimeout as delay } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';
import type { KeySetView } from '#schema/api/views.ts';
import type { DeviceId, KeySetName } from '#schema/ids.ts';
import type { StorageImage } from '../floor/device.ts';
import type { Floor } from '../floor/floor.ts';
import type { Observation } from '../floor/observer.ts';
import { chooseDevices } from '../floor/plan.ts';
import type { TrafficCounter } from '../floor/traffic.ts';
import type { OperatorClient } from '../operator/client.ts';
import type { Operators } from '../operator/operators.ts';
import type { Step, Steps } from '../output/steps.ts';
import type { Chronicle, DeviceHistory } from '../verify/chronicle.ts';
import type { GatewayAtHand } from './gateway-at-hand.ts';
import type { OwnGateway } from './own-gateway.ts';
import { KeyRecord } from './key-record.ts';
import type { CheckResult } from './result.ts';

export interface StageParts {
  readonly seed: string;
  readonly floor: Floor;
  readonly gateway: GatewayAtHand;
  readonly chronicle: Chronicle;
  readonly traffic: TrafficCounter;
  /** A key set that all devices of the floor share. */
  readonly keySet: KeySetName;
  readonly steps: Steps;
  readonly signal: AbortSignal;
  /** Directory for what a scenario writes. */
  readonly directory: string;
}

export interface UntilOptions {
  readonly patienceMs?: number;
  /** What is there instead, for the message. */
  readonly otherwise?: () => string;
}

const POLL_MS = 50;
const PATIENCE_MS = 60_000;

export class Stage {
  readonly seed: string;
  readonly floor: Floor;
  readonly gateway: GatewayAtHand;
  readonly chronicle: Chronicle;
  readonly traffic: TrafficCounter;
  readonly keySet: KeySetName;
  readonly signal: AbortSignal;
  readonly directory: string;
  /** Devices that are to be shut out when all is over. */
  readonly contained = new Set<DeviceId>();
  /** Devices of which two people said that an old version may be destroyed under them. */
  readonly signedOff = new Set<DeviceId>();
  /** Parts of messages that the gateway logs as errors because of what the scenario does. */
  readonly expectedErrors: string[] = [];
  readonly checks: CheckResult[] = [];
  /** When the gateway activated each version, by its own word, and how often it changed what devices should hold. */
  readonly keys = new KeyRecord();
  private readonly steps: Steps;

  constructor(parts: StageParts) {
    const { seed, floor, gateway, chronicle, traffic, keySet, steps, signal, directory } = parts;
    this.seed = seed;
    this.floor = floor;
    this.gateway = gateway;
    this.chronicle = chronicle;
    this.traffic = traffic;
    this.keySet = keySet;
    this.steps = steps;
    this.signal = signal;
    this.directory = directory;
  }

  get operators(): Operators {
    return this.gateway.operators;
  }

  /** A client that may see everything but the audit trail. */
  get client(): OperatorClient {
    return this.operators.as('device-engineer').client;
  }

  get devices(): readonly DeviceId[] {
    return this.floor.plans.map(({ id }) => id);
  }

  /** What the gateway says of its key sets now. */
  noteKeySets(keySets: readonly KeySetView[]): void {
    this.keys.note(keySets);
  }

  /** One step of the story, measured and shown; `note` says what came of it. */
  async step<T>(
    name: string,
    work: (step: Step) => Promise<T>,
    note?: (result: T) => string,
    total?: number,
  ): Promise<T> {
    this.signal.throwIfAborted();
    return this.steps.run(name, total === undefined ? {} : { total }, work, note);
  }

  /** So many percent of the floor, at least so many devices and never a service; drawn by the seed for this purpose. */
  choose(percent: number, purpose: string, least = 1): readonly DeviceId[] {
    const { plans } = this.floor;
    const count = Math.max(least, Math.round((plans.length * percent) / 100));
    return chooseDevices(plans, count, this.seed, purpose).map(({ id }) => id);
  }

  /** All devices but these. */
  except(...groups: readonly (readonly DeviceId[])[]): readonly DeviceId[] {
    const excepted = new Set(groups.flat());
    return this.devices.filter((id) => !excepted.has(id));
  }

  observed(id: DeviceId): Observation {
    const found = this.floor.observer.of(id);
    if (found === undefined) throw new CroupierError('device.not-found', `the floor has no device ${id}`);
    return found;
  }

  /** Judges these devices; what `judge` returns is what is wrong with one. */
  check(
    what: string,
    devices: readonly DeviceId[],
    judge: (history: DeviceHistory, device: Observation) => string | undefined,
  ): void {
    const violations = devices.flatMap((device) => {
      const fault = judge(this.chronicle.of(device), this.observed(device));
      return fault === undefined ? [] : [{ device, what: fault }];
    });
    this.checks.push({ what, checked: devices.length, violations });
  }

  /** Judges something that is not about one device; `fault` says what is wrong. */
  confirm(what: string, fault: string | undefined): void {
    this.checks.push({ what, checked: 1, violations: fault === undefined ? [] : [{ device: null, what: fault }] });
  }

  /** Asks again and again until there is an answer. Errors: `network.timeout`, naming `what`. */
  async until<T>(what: string, look: () => Promise<T | undefined>, options: UntilOptions = {}): Promise<T> {
    const { patienceMs = PATIENCE_MS, otherwise } = options;
    const end = performance.now() + patienceMs;
    for (;;) {
      this.signal.throwIfAborted();
      const found = await look();
      if (found !== undefined) return found;
      if (performance.now() > end) {
        const instead = otherwise === undefined ? '' : `; there is ${otherwise()}`;
        throw new CroupierError('network.timeout', `waited ${patienceMs / 1000} s in vain: ${what}${instead}`);
      }
      await delay(POLL_MS);
    }
  }

  /** Waits for what devices say. Errors: `network.timeout`, naming `what`. */
  async untilObserved(what: string, isDone: () => boolean, patienceMs: number = PATIENCE_MS): Promise<void> {
    const limit = AbortSignal.any([this.signal, AbortSignal.timeout(patienceMs)]);
    const isReached = await this.floor.observer.until(isDone, patienceMs, limit);
    this.signal.throwIfAborted();
    if (!isReached) throw new CroupierError('network.timeout', `waited ${patienceMs / 1000} s in vain: ${what}`);
  }

  /** Writes an image into the storage of a device, as a technician with a disk would: its past counts no more. */
  async restoreStorage(id: DeviceId, image: StorageImage): Promise<void> {
    await this.floor.device(id).restore(image);
    this.chronicle.noteRestored(id);
  }
}

/** With a gateway that a scenario may end. */
export class OwnStage extends Stage {
  override readonly gateway: OwnGateway;

  constructor(parts: StageParts & { readonly gateway: OwnGateway }) {
    super(parts);
    this.gateway = parts.gateway;
  }
}
