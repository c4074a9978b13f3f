/** A device under the virtual clock: the real agent on a state that can be cut off at any commit. */
import { type Agent, createAgent, type StateStore } from '#agent/agent.ts';
import type { AgentState } from '#agent/state/state.ts';
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import { type CrashPoint, never } from './crash-point.ts';
import type { FloorWorld } from './floor-world.ts';

const AGENT_TIMING = { backoffMinMs: 500, backoffMaxMs: 5_000, timeoutMs: 5_000, refusalIntervalMs: 20_000 };
/** One device: its durable state outlives its agents. */
export class Device {
  readonly id: DeviceId;
  state: AgentState;
  agent: Agent | undefined;
  isAway = false;
  crash: CrashPoint | undefined;
  drop: (() => void) | undefined;
  private readonly world: FloorWorld;

  constructor(world: FloorWorld, id: DeviceId, state: AgentState) {
    this.world = world;
    this.id = id;
    this.state = state;
  }

  async on(): Promise<void> {
    const { world } = this;
    world.oracles.deviceStarts(this.id, this.state);
    this.agent = createAgent({
      state: this.durable(),
      clock: world.clock,
      random: world.random,
      timing: AGENT_TIMING,
      transport: (request) => world.connect(this, request),
    });
    await this.agent.start();
  }

  powerCut(): void {
    this.agent?.kill();
    this.agent = undefined;
  }

  private durable(): StateStore {
    const life = { isOver: false };
    return {
      load: async () => this.state,
      commit: async (next) => {
        this.world.activity += 1;
        if (life.isOver) throw new CroupierError('store.unavailable');
        const crash = this.crash;
        if (crash !== undefined) this.crash = crash.after === 0 ? undefined : { ...crash, after: crash.after - 1 };
        const isLast = crash?.after === 0;
        if (!isLast || crash.isDurable) {
          const before = this.state;
          this.state = next;
          this.world.oracles.deviceCommits(this.id, before, next);
        }
        if (!isLast) return;
        life.isOver = true;
        this.powerCut();
        this.world.deadDevices.add(this.id);
        return never();
      },
      close: async () => undefined,
    };
  }
}
