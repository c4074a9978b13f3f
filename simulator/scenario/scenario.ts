/** One story of a floor that goes through something, told by real agents and a real gateway. */
import type { ConfigDocument } from '#schema/config.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import type { OwnStage, Stage } from '../stage/stage.ts';

/** How the floor is made. */
export interface FloorNeeds {
  /** Where the devices keep what they know: in memory unless told. */
  readonly state?: 'memory' | 'disk';
  /** How many connect to the broker at once: a few unless told. */
  readonly handshakes?: 'few' | 'all';
}

interface Told {
  /** Kebab-case, on the command line. */
  readonly name: string;
  /** What the device was away for. */
  readonly away: string;
  /** What it comes back to. */
  readonly back: string;
  readonly floor?: FloorNeeds;
}

/** Against any gateway that runs. */
export interface RunningScenario extends Told {
  readonly needs: 'running';
  run(stage: Stage): Promise<void>;
}

/** Stops, restores or configures the gateway, so that it needs one of its own. */
export interface OwnScenario extends Told {
  readonly needs: 'own';
  /** In place of the ordinary policy. */
  readonly policy?: PolicyDocument;
  readonly config?: Partial<ConfigDocument>;
  run(stage: OwnStage): Promise<void>;
}

export type Scenario = RunningScenario | OwnScenario;
