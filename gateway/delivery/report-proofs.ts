/** What a report proves about key versions. Pure. */
import type { Report, ReportedKeyring } from '#schema/messages/report.ts';
import type { DeliveryState, VersionProof } from '#gateway/ports/store/delivery.ts';
import type { DeviceKeyVersion, KeySetRecord, KeyVersionRecord } from '#gateway/ports/store/records.ts';
import { rowOf } from './desired.ts';
import { isLost, type Lesson } from './learn.ts';

/** Rows ascend by key set and version. */
const isBefore = (one: DeviceKeyVersion, other: DeviceKeyVersion): boolean =>
  one.keySet < other.keySet || (one.keySet === other.keySet && one.version < other.version);

export interface Proved {
  readonly proofs: readonly VersionProof[];
  readonly rows: readonly DeviceKeyVersion[];
  readonly mismatches: readonly string[];
}

/** Check value that the version must have on this device, where the gateway knows it: its own word goes first. */
function expectedKcv(
  keySet: KeySetRecord | undefined,
  row: DeviceKeyVersion | undefined,
  known: KeyVersionRecord | undefined,
): string | undefined {
  return (keySet?.scope === 'shared' ? known?.kcv : undefined) ?? row?.kcv;
}

export function readProofs(state: DeliveryState, report: Report, { gone }: Lesson, at: Date): Proved {
  let rows = state.versions;
  const proofs: VersionProof[] = [];
  const mismatches: string[] = [];
  const put = (proof: VersionProof): void => {
    proofs.push(proof);
    const row = { ...proof, changedAt: at };
    rows = [...rows.filter((one) => isBefore(one, row)), row, ...rows.filter((one) => isBefore(row, one))];
  };
  const prove = (ring: ReportedKeyring): void => {
    const keySet = state.keySets.find((entry) => entry.name === ring.keySet);
    for (const reported of ring.versions) {
      const row = rowOf(rows, ring.keySet, reported.version);
      const known = keySet?.versions.find(({ version }) => version === reported.version);
      // A device proves what the gateway has made, nothing else: its inventions would fill the store.
      if (row === undefined && known === undefined) continue;
      const expected = expectedKcv(keySet, row, known);
      if (reported.state !== 'destroyed' && expected !== undefined && reported.kcv !== expected) {
        const isLostHere = known !== undefined && isLost(known);
        if (!isLostHere || row?.kcv !== reported.kcv) mismatches.push(`${ring.keySet}/${reported.version}`);
        // Of a version that only devices hold, nobody knows which of two values is the right one.
        if (!isLostHere) continue;
      }
      if (row?.state === reported.state) continue;
      const { version, state: proved } = reported;
      put({ keySet: ring.keySet, version, state: proved, kcv: reported.kcv ?? row?.kcv });
    }
  };
  for (const ring of report.keyrings) prove(ring);
  for (const { keySet, version } of gone) {
    put({ keySet, version, state: 'destroyed', kcv: rowOf(rows, keySet, version)?.kcv });
  }
  return { proofs, rows, mismatches };
}
