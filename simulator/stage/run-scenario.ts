/** Runs one scenario from its gateway to the verdict over every device. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { KeySetName } from '#schema/ids.ts';
import { selects } from '#schema/policy.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { createFloor, type Floor } from '../floor/floor.ts';
import { forEachLimited } from '../floor/limiter.ts';
import { planFloor } from '../floor/plan.ts';
import { registerFloor, ticketFloor } from '../floor/population.ts';
import { TrafficCounter } from '../floor/traffic.ts';
import { revokeDevice } from '../operator/changes.ts';
import { knownDevices } from '../operator/inventory.ts';
import type { OperatorClient } from '../operator/client.ts';
import type { Steps } from '../output/steps.ts';
import { Chronicle } from '../verify/chronicle.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { GatewayAtHand } from './gateway-at-hand.ts';
import { ORDINARY_POLICY } from './ordinary-policy.ts';
import { OwnGateway } from './own-gateway.ts';
import type { ScenarioResult } from './result.ts';
import { openRunningGateway } from './running-gateway.ts';
import { settle } from './settle.ts';
import { OwnStage, Stage, type StageParts } from './stage.ts';
import { verdictOf } from './verdict.ts';

export interface ScenarioOptions {
  readonly devices: number;
  readonly seed: string;
  /** Data directory of a gateway that runs; one of its own without. */
  readonly data: string | undefined;
  /** A gateway of its own leaves its directory behind. */
  readonly keep: boolean;
}

export interface ScenarioSurroundings {
  readonly steps: Steps;
  readonly signal: AbortSignal;
}

/** All devices of a floor have one address, and a scenario may be about failures. */
const ONE_ADDRESS = { est: { failuresPerMinute: 1_000_000 } } as const;
/** Requests to the operator API. */
const AT_ONCE = 8;
/** A gateway that was away comes back within seconds, not minutes. */
const TIMING = { backoffMinMs: 250, backoffMaxMs: 5_000, refusalIntervalMs: 5_000, busyPollMs: 500 };

/**
 * Errors: `input.invalid` for a running gateway where the scenario needs its own; those of the gateway; what keeps a step
 * of the scenario from being done. Whatever else is wrong stands in the result.
 */
export async function runScenario(
  scenario: Scenario,
  options: ScenarioOptions,
  around: ScenarioSurroundings,
): Promise<ScenarioResult> {
  const begun = performance.now();
  await using cleanup = new AsyncDisposableStack();
  if (scenario.needs === 'own') {
    if (options.data !== undefined) {
      throw new CroupierError(
        'input.invalid',
        `${scenario.name} stops, restores or configures its gateway, so it runs with one of its own: leave --data out`,
      );
    }
    const gateway = cleanup.use(await openOwn(scenario, options, around));
    const parts = await openFloor(scenario, options, around, gateway, cleanup);
    const stage = new OwnStage({ ...parts, gateway });
    const story = play(stage, () => scenario.run(stage));
    await untilOver(story, gateway, around.signal);
    return await verdictOf(stage, scenario, { steps: around.steps.results, begun, gateway: 'own' });
  }
  const gateway =
    options.data === undefined
      ? cleanup.use(await openOwn(scenario, options, around))
      : cleanup.use(await openRunningGateway(options.data));
  const stage = new Stage(await openFloor(scenario, options, around, gateway, cleanup));
  await untilOver(
    play(stage, () => scenario.run(stage)),
    gateway,
    around.signal,
  );
  return await verdictOf(stage, scenario, {
    steps: around.steps.results,
    begun,
    gateway: options.data === undefined ? 'own' : 'running',
  });
}

function openOwn(
  scenario: Scenario,
  { keep }: ScenarioOptions,
  { steps }: ScenarioSurroundings,
): Promise<OwnGateway & AsyncDisposable> {
  const policy = scenario.needs === 'own' ? (scenario.policy ?? ORDINARY_POLICY) : ORDINARY_POLICY;
  const config = scenario.needs === 'own' ? { ...ONE_ADDRESS, ...scenario.config } : ONE_ADDRESS;
  return steps.run(
    'gateway of its own',
    {},
    () => OwnGateway.open({ policy, config, keep }),
    ({ directory }) => (keep ? directory : ''),
  );
}

async function openFloor(
  { floor: needs }: Scenario,
  { seed, devices, data }: ScenarioOptions,
  { steps, signal }: ScenarioSurroundings,
  gateway: GatewayAtHand,
  cleanup: AsyncDisposableStack,
): Promise<StageParts> {
  const { client } = gateway.operators.as('device-engineer');
  const directory = await mkdtemp(join(tmpdir(), 'croupier-floor-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const traffic = new TrafficCounter();
  const floor = createFloor({
    seed,
    size: devices,
    ...(data === undefined ? {} : { prefix: await freePrefix(client) }),
    gateway: gateway.addresses,
    state: needs?.state === 'disk' ? { kind: 'disk', directory: join(directory, 'devices') } : { kind: 'memory' },
    ...(needs?.handshakes === 'all' ? { handshakes: devices } : {}),
    timing: TIMING,
    network: traffic.wrap,
  });
  if (data !== undefined) cleanup.defer(() => decommission(floor, gateway));
  cleanup.defer(() => floor.stop());
  const chronicle = new Chronicle(floor.plans, () => systemClock.now().getTime());
  floor.observer.addWitness(chronicle);
  cleanup.defer(() => steps.close());
  const keySet = await sharedKeySet(client, devices);
  return { seed, floor, gateway, chronicle, traffic, keySet, steps, signal, directory };
}

/**
 * A floor that is gone for good must not hold up the gateway that it stood at: no rotation waits for a device that is
 * revoked. What goes wrong with one that is revoked already does not matter.
 */
async function decommission({ plans, observer }: Floor, { operators }: GatewayAtHand): Promise<void> {
  const enrolled = plans.filter(({ id }) => observer.of(id)?.serial !== undefined);
  await forEachLimited(enrolled, AT_ONCE, async ({ id }) => {
    await revokeDevice(operators, id, 'simulated, and switched off for good').catch((error: unknown) => {
      if (errorCode(error) !== 'device.state-refused') throw error;
    });
  });
}

/** A floor beside others, and beside those of former runs, has ids of its own. */
async function freePrefix(client: OperatorClient): Promise<string> {
  const known = await knownDevices(client);
  const numbers = [...known].map((id) => Number(/^S(\d+)-/.exec(id)?.[1] ?? 0));
  return `S${Math.max(0, ...numbers) + 1}-`;
}

/** Errors: `keyset.not-found` when the policy has none that every device of a floor shares. */
async function sharedKeySet(client: OperatorClient, devices: number): Promise<KeySetName> {
  const plans = planFloor({ seed: '', size: devices, now: systemClock.now() });
  const { items } = await client.call('keyset.list', {});
  const found = items.find(
    ({ scope, selector }) => scope === 'shared' && plans.every(({ row }) => selects(selector, row)),
  );
  if (found !== undefined) return found.name;
  throw new CroupierError(
    'keyset.not-found',
    'a scenario rotates a shared key set that is meant for egm, kiosk, pos and service; the policy has none',
  );
}

async function play(stage: Stage, run: () => Promise<void>): Promise<void> {
  const { floor, operators, gateway } = stage;
  const total = floor.plans.length;
  await stage.step(
    'inventory and tickets',
    async () => {
      await registerFloor(floor, { directory: gateway.directory, operators, csv: join(stage.directory, 'floor.csv') });
      return ticketFloor(floor, operators);
    },
    undefined,
    total,
  );
  await stage.step(
    'enrolled',
    async (step) => {
      const stop = floor.observer.onChange(() => step.progress(floor.observer.counts().enrolled));
      await floor.switchOn().finally(stop);
    },
    undefined,
    total,
  );
  await stage.step('trust and keyrings', (step) => settle(stage, stage.devices, step), undefined, total);
  await run();
}

/** The story, unless the gateway dies or somebody interrupts: then what is under way fails by itself soon after. */
async function untilOver(story: Promise<void>, gateway: GatewayAtHand, signal: AbortSignal): Promise<void> {
  story.catch(() => undefined);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(() => undefined);
  const stop = (): void => reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.race([story, gateway.died, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
