import type { KeySetName } from '#schema/ids.ts';
import type { KeySetRecord } from './records.ts';

export interface KeySetStore {
  keySets(): Promise<readonly KeySetRecord[]>;
  keySet(name: KeySetName): Promise<KeySetRecord | undefined>;
}
