/** The devices' own word against the gateway's record, device by device. */
import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceDetailView } from '#schema/api/views.ts';
import type { DeviceId } from '#schema/ids.ts';
import { forEachLimited } from '../floor/limiter.ts';
import type { FloorObserver, Observation } from '../floor/observer.ts';
import type { OperatorClient } from '../operator/client.ts';

export interface Difference {
  readonly device: DeviceId;
  readonly what: string;
}

/** The gateway's records of all devices, and in what each of them differs from what it should be. */
export interface Comparison {
  readonly records: ReadonlyMap<DeviceId, DeviceDetailView>;
  readonly differences: readonly Difference[];
}

/** In what they differ, in words; undefined when they agree. */
export function differenceOf(device: Observation, record: DeviceDetailView): string | undefined {
  if (record.state !== 'enrolled') return `it is ${record.state} for the gateway`;
  if (record.connected !== (device.phase === 'connected'))
    return `it is ${device.phase}, the gateway has connected=${record.connected}`;
  const current = record.certificates.find(({ slot }) => slot === 'current')?.serial;
  if (current !== device.serial)
    return `it holds certificate ${device.serial ?? 'none'}, the gateway has ${current ?? 'none'}`;
  if (record.trustVersion !== device.trustVersion) {
    return `it holds trust ${device.trustVersion ?? 'none'}, the gateway has ${record.trustVersion}`;
  }
  const [held, recorded] = [heldKeys(device), recordedKeys(record)];
  return held === recorded ? undefined : `it holds ${held}, the gateway has ${recorded}`;
}

/** As `differenceOf`, for a device that should be shut out. */
export function containedDifferenceOf(device: Observation, record: DeviceDetailView): string | undefined {
  if (record.state !== 'quarantined' && record.state !== 'revoked')
    return `it is ${record.state} for the gateway, and should be shut out`;
  return record.connected || device.phase === 'connected' ? 'it is connected, and should be shut out' : undefined;
}

const sorted = (lines: readonly string[]): string => (lines.length === 0 ? 'no key' : [...lines].sort().join(', '));

const heldKeys = ({ keyrings }: Observation): string =>
  sorted(
    [...keyrings.values()].flatMap(({ keySet, versions }) =>
      versions.map(({ version, state, kcv }) => `${keySet} ${version} ${state} ${kcv}`),
    ),
  );

/** What was offered only is not held yet, what was destroyed is not held any more. */
const recordedKeys = ({ keys }: DeviceDetailView): string =>
  sorted(
    keys
      .filter(({ state }) => state !== 'offered' && state !== 'destroyed')
      .map(({ keySet, version, state, kcv }) => `${keySet} ${version} ${state} ${kcv ?? 'unknown'}`),
  );

const AT_ONCE = 8;
/** The last reports may still be on their way. */
const ROUNDS = 20;
const BETWEEN_ROUNDS_MS = 250;

/**
 * Looks at all devices; those with a difference are looked at again for a few seconds. `onProgress` is told how many are
 * as they should be so far.
 */
export async function lookAtAll(
  client: OperatorClient,
  observer: Pick<FloorObserver, 'all'>,
  differs: (device: Observation, record: DeviceDetailView) => string | undefined,
  onProgress: (agreeing: number) => void,
): Promise<Comparison> {
  const records = new Map<DeviceId, DeviceDetailView>();
  let rest: readonly Observation[] = [...observer.all()];
  let differences: Difference[] = [];
  let agreeing = 0;
  for (let round = 0; round < ROUNDS && rest.length > 0; round += 1) {
    if (round > 0) await delay(BETWEEN_ROUNDS_MS);
    const next: Observation[] = [];
    differences = [];
    await forEachLimited(rest, AT_ONCE, async (device) => {
      const { id } = device.plan;
      const record = await client.call('device.show', { params: { id } });
      records.set(id, record);
      const what = differs(device, record);
      if (what === undefined) onProgress((agreeing += 1));
      else {
        next.push(device);
        differences.push({ device: id, what });
      }
    });
    rest = next;
  }
  return { records, differences };
}

/** Compares all devices with their records. Returns those that differ in the end. */
export async function compareAll(
  client: OperatorClient,
  observer: Pick<FloorObserver, 'all'>,
  onProgress: (agreeing: number) => void,
): Promise<readonly Difference[]> {
  return (await lookAtAll(client, observer, differenceOf, onProgress)).differences;
}
