/** Links that have arrived, in any order and from anywhere, until they can be walked. Nothing in here is verified. */
import type { ReadBundle } from './bundle.ts';

/** A device that missed more than this many links fetches them in several goes. */
export const MAX_LINKS = 256;

export class LinkBuffer {
  private readonly byVersion = new Map<number, ReadBundle>();

  add(bundle: ReadBundle): void {
    const { version } = bundle.body;
    if (this.byVersion.size >= MAX_LINKS && !this.byVersion.has(version)) {
      // The lowest are needed first.
      const highest = Math.max(...this.byVersion.keys());
      if (version > highest) return;
      this.byVersion.delete(highest);
    }
    this.byVersion.set(version, bundle);
  }

  /** The unbroken run that follows `held`; before the first bundle, the latest alone. */
  after(held: number | undefined): ReadBundle[] {
    if (held === undefined) {
      const latest = this.byVersion.get(Math.max(...this.byVersion.keys()));
      return latest === undefined ? [] : [latest];
    }
    const run: ReadBundle[] = [];
    for (
      let next = this.byVersion.get(held + 1);
      next !== undefined;
      next = this.byVersion.get(held + 1 + run.length)
    ) {
      run.push(next);
    }
    return run;
  }

  /** Highest version known; 0 if none. */
  get latest(): number {
    return Math.max(0, ...this.byVersion.keys());
  }

  /** Forgets what is held by now. */
  forgetUpTo(version: number): void {
    for (const known of this.byVersion.keys()) if (known <= version) this.byVersion.delete(known);
  }

  forget(bundle: ReadBundle): void {
    if (this.byVersion.get(bundle.body.version) === bundle) this.byVersion.delete(bundle.body.version);
  }
}
