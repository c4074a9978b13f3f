/** What the parts of the Store contract share. */
import type { Store } from '#gateway/ports/store/index.ts';

export interface StoreUnderTest {
  readonly store: Store;
  /** Closes it and opens it again on what it has written. */
  reopen(): Promise<Store>;
  stop(): Promise<void>;
}

/** The store of the test that is running. */
export type CurrentStore = () => StoreUnderTest;

/** The actions audited so far, oldest first. */
export async function auditedActions(store: Store): Promise<readonly string[]> {
  return (await store.auditRecords(0, 10_000)).map((record) => record.action);
}

/** The action audited last. */
export async function lastAudited(store: Store): Promise<string | undefined> {
  return (await auditedActions(store)).at(-1);
}

/** An event that no record can hold: its audit record cannot be written. */
export const UNWRITABLE = {
  action: 'x'.repeat(65),
  outcome: 'success',
  actor: { type: 'gateway', id: 'test' },
} as const;
