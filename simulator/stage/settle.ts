/** Waiting for devices to hold what the gateway wants them to hold, and switching them off so that the gateway notices. */
import { CroupierError } from '#schema/errors.ts';
import type { DeviceId } from '#schema/ids.ts';
import type { SwitchingOff } from '../floor/floor.ts';
import type { Observation } from '../floor/observer.ts';
import type { Step } from '../output/steps.ts';
import { isSameExpectation, readExpectation, type Expectation } from '../verify/expectation.ts';
import { heldDifferenceOf } from '../verify/invariants.ts';
import type { Stage } from './stage.ts';

const PATIENCE_MS = 90_000;
/** What the gateway wants is asked anew at least this often. */
const LOOK_AGAIN_MS = 1_000;
const SETTLE_MS = 250;
const NAMED = 3;

/** What keeps the device from being in step; undefined when nothing does. */
function lagOf(device: Observation, { keySets, trust }: Expectation): string | undefined {
  if (device.phase !== 'connected') return `it is ${device.phase}`;
  return heldDifferenceOf(device, keySets, trust);
}

async function expect(stage: Stage): Promise<Expectation> {
  const expectation = await readExpectation(stage.client);
  stage.noteKeySets(expectation.keySets);
  return expectation;
}

const laggards = (stage: Stage, devices: readonly DeviceId[], expectation: Expectation) =>
  devices.flatMap((id) => {
    const lag = lagOf(stage.observed(id), expectation);
    return lag === undefined ? [] : [{ id, lag }];
  });

/** How the gateway shut them out, if it did so with all of them: then waiting is in vain. */
async function areShutOut(
  stage: Stage,
  behind: readonly { readonly id: DeviceId }[],
): Promise<readonly string[] | undefined> {
  const found: string[] = [];
  for (const { id } of behind) {
    const { state, stateCode } = await stage.client.call('device.show', { params: { id } });
    if (state === 'enrolled' || state === 'registered') return undefined;
    found.push(`${id}: it is ${state} (${stateCode ?? 'by a person'})`);
  }
  return found.length === 0 ? undefined : found;
}

/**
 * Resolves with what is wrong with those that are not in step when patience is at its end, or when the gateway has shut
 * them all out; with nothing when all are in step.
 */
export async function waitInStep(
  stage: Stage,
  devices: readonly DeviceId[],
  step: Step | undefined,
): Promise<readonly string[]> {
  const { signal } = stage;
  const { observer } = stage.floor;
  const wanted = new Set(devices);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  let expectation = await expect(stage);
  const stop = observer.onChange(() => step?.progress(observer.counts().atGoal));
  try {
    for (;;) {
      const current = expectation;
      observer.setGoal((device) => wanted.has(device.plan.id) && lagOf(device, current) === undefined);
      const again = AbortSignal.any([limit, AbortSignal.timeout(LOOK_AGAIN_MS)]);
      const isReached = await observer.until(() => observer.counts().atGoal >= wanted.size, LOOK_AGAIN_MS, again);
      expectation = await expect(stage);
      const isSame = isSameExpectation(current, expectation);
      if (isSame && isReached && expectation.underWay.length === 0) return [];
      const behind = laggards(stage, devices, expectation);
      const shutOut = isReached ? undefined : await areShutOut(stage, behind);
      if (shutOut !== undefined) return shutOut;
      if (limit.aborted) return behind.map(({ id, lag }) => `${id}: ${lag}`);
      if (isSame && isReached) await observer.until(() => false, SETTLE_MS, limit);
    }
  } finally {
    stop();
    step?.progress(observer.counts().atGoal);
  }
}

/** Waits until these devices, all that are on and not shut out unless told, are in step. Errors: `network.timeout`, naming some that are not. */
export async function settle(stage: Stage, devices?: readonly DeviceId[], step?: Step): Promise<void> {
  const chosen = devices ?? stage.devices.filter((id) => stage.floor.device(id).isOn && !stage.contained.has(id));
  const behind = await waitInStep(stage, chosen, step);
  stage.signal.throwIfAborted();
  if (behind.length === 0) return;
  const named = behind.slice(0, NAMED).join('; ');
  throw new CroupierError('network.timeout', `${behind.length} devices are not in step: ${named}`);
}

/** Switches devices off, and waits until the gateway has noticed. */
export async function sendAway(stage: Stage, devices: readonly DeviceId[], how?: SwitchingOff): Promise<void> {
  await stage.floor.switchOff(devices, how);
  await untilDisconnected(stage, devices);
}

/** Waits until the gateway counts none of these devices as connected. */
export async function untilDisconnected(stage: Stage, devices: readonly DeviceId[]): Promise<void> {
  const rest = new Set(devices);
  await stage.until(`the gateway notices that ${devices.length} devices are gone`, async () => {
    for (const id of rest) {
      const { connected } = await stage.client.call('device.show', { params: { id } });
      if (connected) return undefined;
      rest.delete(id);
    }
    return true;
  });
}
