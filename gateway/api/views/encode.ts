/** How times and bytes stand in JSON. */
import { Buffer } from 'node:buffer';

export const instant = (at: Date): string => at.toISOString();
export const instantOrNull = (at: Date | undefined): string | null => (at === undefined ? null : at.toISOString());
export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
export const base64OrNull = (bytes: Uint8Array | undefined): string | null =>
  bytes === undefined ? null : base64(bytes);
