/** What a benchmark found: its figures by size of the floor, the limits of this machine, and whether its targets hold. */

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

export interface Target extends Figure {
  readonly least?: number;
  readonly most?: number;
}

/** The figures of one size; all rows of a benchmark have the same columns. */
export interface Row {
  /** What was done, where the rows of a benchmark differ in that. */
  readonly change?: string;
  readonly devices: number;
  readonly figures: readonly Figure[];
}

export interface BenchResult {
  readonly bench: string;
  /** What was done, in one line. */
  readonly about: string;
  readonly rows: readonly Row[];
  /** What this machine does at best, measured in the same run. */
  readonly limits: readonly Figure[];
  readonly targets: readonly Target[];
}

export function isMet({ value, least, most }: Target): boolean {
  return (least === undefined || value >= least) && (most === undefined || value <= most);
}

/** A number that a person reads: three digits that mean something. */
export function readable(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
