/** What `npm start` does: from an empty directory to a rotated floor, every step by the way that a person would go. */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { KeySetName, type DeviceId } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import { createFloor, type Floor } from '../floor/floor.ts';
import { chooseOffline } from '../floor/plan.ts';
import { registerFloor, ticketFloor } from '../floor/population.ts';
import { beginRotation } from '../operator/changes.ts';
import { addressesOf, isInitialised, readInstallation } from '../operator/installation.ts';
import { openOperators, type Operators } from '../operator/operators.ts';
import type { Steps } from '../output/steps.ts';
import { runCroupier } from '../process/croupier.ts';
import { startGatewayProcess, type GatewayProcess } from '../process/gateway.ts';
import { requireFreePorts } from '../process/ports.ts';
import { checkAudit } from '../verify/audit.ts';
import { compareAll } from '../verify/compare.ts';
import { converge, watchGoal } from '../verify/converge.ts';
import type { StartOptions } from './options.ts';
import { finishRotation } from './rotation.ts';
import type { Findings } from './findings.ts';

const KEY_SET = KeySetName.parse('wallet-kek');
const OFFLINE_PERCENT = 15;
const FOUNDERS = ['kim=key-admin', 'dana=device-engineer', 'ari=approver', 'audrey=auditor'];
const LISTEN_HOST = '127.0.0.1';

export interface Surroundings {
  readonly steps: Steps;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface Running {
  readonly findings: Findings;
  readonly gateway: GatewayProcess;
}

/**
 * Runs it all, hands the result to `whenDone` while everything still runs, and ends gateway and agents whatever happens.
 * Errors: what keeps a step from being done; `signal` ends it with its reason.
 */
export async function start(
  options: StartOptions,
  around: Surroundings,
  whenDone: (running: Running) => Promise<void>,
): Promise<void> {
  const directory = resolve(options.data);
  const ports = { est: options.estPort, mqtt: options.mqttPort, api: options.apiPort, public: options.publicPort };
  await using cleanup = new AsyncDisposableStack();
  const { signal, steps } = around;
  const aborted = abortOf(signal);
  await requireFreePorts(LISTEN_HOST, ports);
  if (!(await isInitialised(directory))) {
    await steps.run(
      'realm',
      {},
      () => initialise(directory, options),
      ({ made }) => `${made} certificates, HSM token, ${FOUNDERS.length} operators`,
    );
  }
  signal.throwIfAborted();
  const log = join(directory, 'log', 'gateway.log');
  const gateway = await steps.run(
    'gateway',
    {},
    () => startGatewayProcess({ directory, ports, log }),
    ({ run }) => `process ${run.pid}`,
  );
  cleanup.defer(() => gateway.stop());

  const installation = await readInstallation(directory);
  const operators = await openOperators(installation, gateway.run);
  cleanup.defer(() => operators.close());
  const floor = createFloor({
    seed: options.seed,
    size: options.devices,
    gateway: addressesOf(installation, gateway.run),
    state: { kind: 'disk', directory: join(directory, 'floor', 'devices') },
    clock: around.clock,
  });
  cleanup.defer(() => floor.stop());
  cleanup.defer(() => steps.close());

  const work = exercise({ directory, floor, operators, gateway, steps, signal });
  // When the gateway dies or somebody interrupts, what is under way fails by itself soon after.
  work.catch(() => undefined);
  const findings = await Promise.race([work, gateway.died, aborted]);
  await whenDone({ findings, gateway });
}

function abortOf(signal: AbortSignal): Promise<never> {
  const aborted = new Promise<never>((_, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });
  aborted.catch(() => undefined);
  return aborted;
}

async function initialise(
  directory: string,
  { estPort, mqttPort, apiPort, publicPort }: StartOptions,
): Promise<{ readonly made: number }> {
  const listen = ['--est-port', estPort, '--mqtt-port', mqttPort, '--api-port', apiPort, '--public-port', publicPort];
  const founders = FOUNDERS.flatMap((founder) => ['--founder', founder]);
  const about = ['--realm', 'demo', '--operator', 'Example Casino'];
  const { ceremonies } = await runCroupier(
    ['--data', directory, 'init', ...about, ...founders, ...listen.map(String)],
    z.object({ ceremonies: z.array(z.unknown()) }),
  );
  return { made: ceremonies.length };
}

interface Exercise {
  readonly directory: string;
  readonly floor: Floor;
  readonly operators: Operators;
  readonly gateway: GatewayProcess;
  readonly steps: Steps;
  readonly signal: AbortSignal;
}

async function exercise(all: Exercise): Promise<Findings> {
  const { floor, operators, steps, signal } = all;
  const { observer, plans } = floor;
  const { client } = operators.as('device-engineer');
  await populate(all);
  await steps.run('trust and keyrings', { total: plans.length }, (step) =>
    converge(floor, client, plans.length, step, signal),
  );

  const absent = chooseOffline(plans, floor.seed, OFFLINE_PERCENT).map(({ id }) => id);
  await steps.run(
    'switched off',
    { total: absent.length },
    () => leave(all, absent),
    () => `${OFFLINE_PERCENT} % of the floor, no service`,
  );
  const rotation = await steps.run(
    'rotation approved',
    {},
    () => beginRotation(operators, KEY_SET, 'first rotation of the floor'),
    ({ from, to }) => `${KEY_SET} ${from} to ${to}`,
  );
  const begun = performance.now();
  const present = plans.length - absent.length;
  const rollout = await steps.run(
    'rotated',
    { total: present },
    (step) => finishRotation(floor, operators, KEY_SET, rotation, step, signal),
    ({ state, progress }) => `rollout ${state}, ${progress.offlineBehind} to catch up`,
  );
  const seconds = (performance.now() - begun) / 1000;
  const rotated = observer.counts().atGoal;

  const caughtUp = await steps.run('back and caught up', { total: absent.length }, async (step) => {
    const back = floor.switchOn(absent);
    await watchGoal(
      floor,
      plans.length,
      { progress: (done, note) => step.progress(Math.max(0, done - rotated), note) },
      signal,
    );
    await back;
    return absent.filter((id) => observer.of(id)?.isAtGoal === true).length;
  });
  await steps.run('everybody converged', { total: plans.length }, (step) =>
    converge(floor, client, plans.length, step, signal),
  );
  const verified = await verify(all);
  return {
    devices: plans.length,
    enrolled: observer.counts().enrolled,
    offline: absent.length,
    caughtUp,
    rotation: {
      keySet: KEY_SET,
      from: rotation.from,
      to: rotation.to,
      seconds,
      reached: rotated,
      present,
      state: rollout.state,
    },
    counts: observer.counts(),
    faults: observer.faults(),
    ...verified,
  };
}

async function populate({ directory, floor, operators, steps }: Exercise): Promise<void> {
  const { observer, plans } = floor;
  const csv = join(directory, 'floor', 'inventory.csv');
  await steps.run(
    'inventory',
    {},
    () => registerFloor(floor, { directory, operators, csv }),
    (count) => (count === 0 ? 'known already' : `${count} devices imported and approved`),
  );
  const without = await steps.run(
    'tickets',
    {},
    () => ticketFloor(floor, operators),
    (count) => (count === 0 ? 'nobody needs one' : `${count} issued and approved`),
  );
  await steps.run(without > 0 ? 'enrolled' : 'connected', { total: plans.length }, async (step) => {
    const stop = observer.onChange(() => {
      const { enrolled, phases } = observer.counts();
      step.progress(without > 0 ? enrolled : phases.connected, `${phases.connected} connected`);
    });
    await floor.switchOn().finally(stop);
    step.progress(observer.counts().enrolled);
  });
}

const ABSENT_WITHIN_MS = 30_000;

/** Switches devices off, and waits until the gateway has noticed. */
async function leave({ floor, operators }: Exercise, absent: readonly DeviceId[]): Promise<void> {
  await floor.switchOff(absent);
  const { client } = operators.as('device-engineer');
  const end = performance.now() + ABSENT_WITHIN_MS;
  for (;;) {
    const { devices } = await client.call('status.show', {});
    if (devices.connected <= floor.observer.counts().phases.connected) return;
    if (performance.now() > end) {
      throw new CroupierError('network.timeout', `the gateway still counts ${devices.connected} devices as connected`);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function verify({
  directory,
  floor,
  operators,
  gateway,
  steps,
}: Exercise): Promise<Pick<Findings, 'converged' | 'differences' | 'audit' | 'gatewayErrors'>> {
  const { observer, plans } = floor;
  const { client } = operators.as('device-engineer');
  const differences = await steps.run(
    'devices and gateway',
    { total: plans.length },
    (step) => compareAll(client, observer, (agreeing) => step.progress(agreeing)),
    (found) => (found.length === 0 ? 'they agree' : `${found.length} differ`),
  );
  const audit = await steps.run(
    'audit trail',
    {},
    () => checkAudit(directory, operators, join(directory, 'log', 'audit.jsonl')),
    ({ verified, records }) => (verified ? `${records} records verified` : 'broken'),
  );
  const differing = new Set(differences.map(({ device }) => device));
  const converged = plans.filter(({ id }) => observer.of(id)?.isAtGoal === true && !differing.has(id)).length;
  return { converged, differences, audit, gatewayErrors: await gateway.errors() };
}
