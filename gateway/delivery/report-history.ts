/** Where a report stands in the one history that a device's reports form. Pure. */
import type { Report } from '#schema/messages/report.ts';
import type { DeliveryState } from '#gateway/ports/store/delivery.ts';
import { isHeld } from './desired.ts';

export type History = 'new' | 'duplicate' | 'late' | 'report.regressed' | 'report.forked';

/**
 * Where the report stands in the device's one history of reports. A restored image starts a new boot with an old
 * counter; a clone continues from the same report as its twin, or goes on counting in a boot that its twin has ended.
 */
export function placeInHistory(
  state: Pick<DeliveryState['sync'], 'digest' | 'counter' | 'boots'>,
  report: Report,
  digest: string,
): History {
  if (digest === state.digest) return 'duplicate';
  const knownBoot = state.boots.includes(report.bootId);
  if (report.counter <= state.counter) {
    if (report.counter === state.counter && knownBoot) return 'report.forked';
    return knownBoot ? 'late' : 'report.regressed';
  }
  if (report.counter === state.counter + 1 && state.digest !== undefined && report.previous !== state.digest)
    return 'report.forked';
  return knownBoot && report.bootId !== state.boots[0] ? 'report.forked' : 'new';
}

/**
 * A device never loses what it proved: less than before means that its storage went back in time (I5). Unless it is the
 * gateway that went back: then a version may have been destroyed in the time that was `forgotten`.
 */
export function regression(state: DeliveryState, report: Report, forgotten = false): string | undefined {
  if (report.trustVersion < state.sync.trustVersion)
    return `trust bundle ${report.trustVersion} after ${state.sync.trustVersion}`;
  if (report.lastSeq < state.sync.lastSeq) return `update ${report.lastSeq} after ${state.sync.lastSeq}`;
  let ring: Report['keyrings'][number] | undefined;
  for (const row of state.versions) {
    // Rows come by key set.
    if (ring?.keySet !== row.keySet) ring = report.keyrings.find(({ keySet }) => keySet === row.keySet);
    const reported = ring?.versions.find(({ version }) => version === row.version);
    if (!forgotten && isHeld(row.state) && reported === undefined)
      return `${row.keySet} version ${row.version} is gone`;
    if (row.state === 'destroyed' && reported !== undefined && reported.state !== 'destroyed')
      return `${row.keySet} version ${row.version} is back after its destruction`;
  }
  return undefined;
}
