/** The gateway under the virtual clock: real store, decisions and workers behind ports that can die. */
import { createMemoryBroker, type MemoryBroker } from '#gateway/broker/memory.ts';
import { createDispatcher } from '#gateway/delivery/dispatcher.ts';
import { InFlight } from '#gateway/delivery/in-flight.ts';
import { createIntake } from '#gateway/delivery/intake.ts';
import { createPresenceKeeper } from '#gateway/delivery/presence.ts';
import { createClientAuthorizer } from '#gateway/enrolment/client-certificate.ts';
import type { Broker, ClientAuthorizer } from '#gateway/ports/broker.ts';
import { silentLog } from '#gateway/ports/log.ts';
import { silentMetrics } from '#gateway/ports/metrics.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { createRolloutDriver } from '#gateway/rollout/driver.ts';
import { createWindows } from '#gateway/rollout/window.ts';
import { never } from './crash-point.ts';
import type { FloorWorld } from './floor-world.ts';

/** One life of the gateway's process, from start to stop or kill. */
export class GatewayLife {
  /** For operators and tests: no crash point is counted here. */
  readonly console: Store;
  readonly broker: MemoryBroker;
  readonly authorize: ClientAuthorizer;
  readonly ring: () => void;
  isDead = false;
  readonly death = Promise.withResolvers<undefined>();
  private readonly world: FloorWorld;
  private readonly real: Store;
  private readonly stops: readonly (() => Promise<void>)[];

  constructor(world: FloorWorld, real: Store) {
    this.world = world;
    const { template, clock, random } = world;
    const { realm, pki } = template.authority;
    this.real = real;
    const store = this.shown(real, (name, run) => this.call(world, name, run));
    this.console = this.shown(real, async (name, run) => {
      const result = await run();
      world.oracles.storeAnswered(name, result);
      return result;
    });
    this.broker = createMemoryBroker({ realm, clock, random });
    const broker = this.watched(world, this.broker);
    this.authorize = createClientAuthorizer(store, clock, silentMetrics);
    const windows = createWindows({});
    const ports = {
      realm,
      store,
      broker,
      clock,
      log: silentLog,
      metrics: silentMetrics,
      policy: () => template.policy,
      windows: () => windows,
    };
    const dispatcher = createDispatcher({
      ...ports,
      keyStore: pki.hsm,
      signer: () => world.signer,
      inFlight: new InFlight(ports.clock),
    });
    const rollouts = createRolloutDriver({ store, clock, log: silentLog, onDue: () => dispatcher.ring() });
    this.ring = () => {
      dispatcher.ring();
      rollouts.ring();
    };
    const intake = createIntake({ ...ports, onDue: () => dispatcher.ring(), onProgress: () => rollouts.ring() });
    const presence = createPresenceKeeper(store, clock, silentLog, this.ring);
    broker.onReport(intake.accept);
    broker.onPresence(presence.note);
    this.stops = [presence, intake, rollouts, dispatcher].map((worker) => () => worker.stop());
  }

  async stop(): Promise<void> {
    this.world.gatewayCrash = undefined;
    await this.broker.close();
    // A worker that waits for the clock ends when its time has come.
    const stopped = Promise.all(this.stops.map((stop) => stop()));
    await this.world.advance(1_000);
    await stopped;
    await this.console.close();
    this.isDead = true;
  }

  /** Nothing is done any more. */
  kill(): void {
    if (this.isDead) return;
    this.isDead = true;
    this.death.resolve(undefined);
    for (const stop of this.stops) void stop();
    // What it was writing is on the disk, and nobody was told.
    void this.real.close();
    void this.broker.close();
  }

  private shown(real: Store, call: (name: string, run: () => unknown) => Promise<unknown>): Store {
    return new Proxy(real, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name);
        if (typeof method !== 'function') return method;
        return (...args: unknown[]) =>
          this.world.during(() => call(String(name), () => Reflect.apply(method, target, args)));
      },
    });
  }

  private async call(world: FloorWorld, name: string, run: () => unknown): Promise<unknown> {
    if (this.isDead) return world.abandoned();
    const crash = world.gatewayCrash;
    if (crash !== undefined) world.gatewayCrash = crash.after === 0 ? undefined : { ...crash, after: crash.after - 1 };
    const isLast = crash?.after === 0;
    if (isLast && !crash.isDurable) return this.end(world);
    const result = await run();
    world.oracles.storeAnswered(name, result);
    return isLast ? this.end(world) : result;
  }

  private end(world: FloorWorld): unknown {
    this.kill();
    return world.abandoned();
  }

  private watched(world: FloorWorld, broker: Broker): Broker {
    return {
      ...broker,
      publish: async (topic, payload, options) => {
        if (this.isDead) return never();
        world.oracles.gatewayPublishes(topic, payload);
        return broker.publish(topic, payload, options);
      },
      onReport: (handler) => broker.onReport(handler),
      onPresence: (handler) => broker.onPresence(handler),
      isConnected: (device) => broker.isConnected(device),
      connectedDevices: () => broker.connectedDevices(),
      disconnect: (device) => broker.disconnect(device),
      close: () => broker.close(),
    };
  }
}
