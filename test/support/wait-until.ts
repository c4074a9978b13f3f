import { setTimeout as delay } from 'node:timers/promises';

const LIMIT_MS = 15_000;

/** Waits until `look` finds something, and returns it; fails with `what` after a while. */
export async function waitUntil<T>(look: () => T | undefined | false, what: () => string): Promise<T> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited in vain for ${what()}`);
    await delay(5);
  }
}
