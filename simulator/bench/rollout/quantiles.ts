/** What repeated measurements say. Pure. */

/** The value that `share` of the measurements do not exceed; NaN for none. */
export function quantile(values: readonly number[], share: number): number {
  const ordered = values.toSorted((a, b) => a - b);
  return ordered[Math.max(0, Math.ceil(ordered.length * share) - 1)] ?? Number.NaN;
}

export interface Summary {
  readonly median: number;
  readonly p99: number;
}

export const summaryOf = (values: readonly number[]): Summary => ({
  median: quantile(values, 0.5),
  p99: quantile(values, 0.99),
});

/** By how much the last is larger than the first: 1 when it has not grown. */
export function growth(values: readonly number[]): number {
  const [first, last] = [values.at(0), values.at(-1)];
  return first === undefined || last === undefined || first === 0 ? Number.NaN : last / first;
}
