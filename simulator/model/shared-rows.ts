/**
 * The rows of key versions, shared by all devices of which the gateway knows the same. When a row changed is left out:
 * no decision reads it, and it would make every device's rows its own.
 */
import type { DeviceKeyVersion } from '#gateway/ports/store/records.ts';

export type Rows = readonly DeviceKeyVersion[];

export const NO_ROWS: Rows = [];
const NEVER = new Date(0);

const textOf = ({ keySet, version, state, kcv }: DeviceKeyVersion): string =>
  `${keySet}/${version}${state}${kcv ?? ''}`;

const isBefore = (one: DeviceKeyVersion, other: DeviceKeyVersion): boolean =>
  one.keySet < other.keySet || (one.keySet === other.keySet && one.version < other.version);

export class SharedRows {
  private readonly rows = new Map<string, DeviceKeyVersion>();
  private readonly lists = new Map<string, Rows>();
  /** What a list becomes by one row: whole floors go the same way. */
  private readonly steps = new Map<Rows, Map<string, Rows>>();

  /** With `row` in its place: ascending by key set and version. */
  with(rows: Rows, row: DeviceKeyVersion): Rows {
    let steps = this.steps.get(rows);
    if (steps === undefined) {
      steps = new Map();
      this.steps.set(rows, steps);
    }
    const text = textOf(row);
    let stepped = steps.get(text);
    if (stepped === undefined) {
      const before = rows.filter((one) => isBefore(one, row));
      const after = rows.filter((one) => isBefore(row, one));
      stepped = this.share([...before, row, ...after]);
      steps.set(text, stepped);
    }
    return stepped;
  }

  /** What counts once a device's history begins anew: what it held may be there still, what it destroyed is unknown. */
  anew(rows: Rows): Rows {
    return this.share(
      rows.filter(({ state }) => state !== 'destroyed').map((row): DeviceKeyVersion => ({ ...row, state: 'offered' })),
    );
  }

  private share(rows: Rows): Rows {
    const texts = rows.map(textOf);
    const key = texts.join();
    const known = this.lists.get(key);
    if (known !== undefined) return known;
    const shared = rows.map((row, index) => this.rowOf(texts[index] ?? '', row));
    this.lists.set(key, shared);
    return shared;
  }

  private rowOf(text: string, row: DeviceKeyVersion): DeviceKeyVersion {
    const known = this.rows.get(text) ?? { ...row, changedAt: NEVER };
    this.rows.set(text, known);
    return known;
  }
}
