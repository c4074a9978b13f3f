/** What the gateway said of its key sets over a run: it outlasts a database that is restored in between. */
import type { KeySetView } from '#schema/api/views.ts';
import { activationKey } from '../verify/invariants.ts';

export class KeyRecord {
  /** By `set/version`: milliseconds since 1970. */
  readonly activations = new Map<string, number>();
  private readonly revisions = new Map<string, number>();
  private count = 0;

  note(keySets: readonly KeySetView[]): void {
    for (const { name, revision, versions } of keySets) {
      const before = this.revisions.get(name);
      if (before !== undefined) this.count += Math.abs(revision - before);
      this.revisions.set(name, revision);
      for (const { version, activatedAt } of versions) {
        const key = activationKey(name, version);
        if (activatedAt !== null && !this.activations.has(key)) this.activations.set(key, Date.parse(activatedAt));
      }
    }
  }

  /** By how many revisions the key sets have changed since they were noted first. */
  get changes(): number {
    return this.count;
  }
}
