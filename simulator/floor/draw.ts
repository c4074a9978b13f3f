/** Draws that depend on the seed and on what they are for, not on their order: a longer floor keeps its first devices. */
import { hash } from 'node:crypto';

/** Uniform in [0, 1). */
export function draw(seed: string, ...purpose: readonly string[]): number {
  return hash('sha256', JSON.stringify([seed, ...purpose]), 'buffer').readUIntBE(0, 6) / 2 ** 48;
}

/** One of `choices`, each as likely as the others. */
export function pick<T>(choices: readonly [T, ...T[]], fraction: number): T {
  return choices[Math.floor(fraction * choices.length)] ?? choices[0];
}

/** `count` of `items`, the same ones for the same seed and purpose, in the order of `items`. */
export function sample<T>(
  items: readonly T[],
  count: number,
  key: (item: T) => string,
  seed: string,
  purpose: string,
): readonly T[] {
  const ranked = items
    .map((item) => ({ item, rank: draw(seed, purpose, key(item)) }))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, count)
    .map(({ item }) => item);
  const chosen = new Set(ranked);
  return items.filter((item) => chosen.has(item));
}
