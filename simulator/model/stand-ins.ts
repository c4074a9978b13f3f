/**
 * What stands in the model's messages for digests, nonces, boot ids and times. They are compared within one device
 * only, so that all devices share them: fifty thousand floors of strings would not fit any cache.
 */
import type { Sha256 } from '#schema/ids.ts';

const DIGEST_DIGITS = 64;
const NONCE_DIGITS = 22;
const BOOT_DIGITS = 12;
const MINUTE = 60_000;

const isDigest = (text: string): text is Sha256 => text.length === DIGEST_DIGITS;

/** A list that makes what it does not have yet. */
function growing<T>(make: (number: number) => T): (number: number) => T {
  const made: T[] = [];
  return (number) => {
    for (let next = made.length; next <= number; next += 1) made.push(make(next));
    const found = made[number];
    if (found === undefined) throw new RangeError(`${number} is no place in a list`);
    return found;
  };
}

/** Digest of the report with this counter, or of anything else that is one of a kind on its device. */
export const digestAt = growing((number): Sha256 => {
  // The lowest digit first: two that differ do so at once.
  let text = '';
  for (let rest = number; rest > 0; rest = Math.floor(rest / 16)) text += (rest % 16).toString(16);
  text = text.padEnd(DIGEST_DIGITS, '0');
  if (!isDigest(text)) throw new RangeError('the number is too large for a digest');
  return text;
});

export const nonceAt = growing((counter) => String(counter).padStart(NONCE_DIGITS, '0'));
export const counterOf = (nonce: string): number => Number(nonce);

export const bootIdAt = growing((boot) => `00000000-0000-4000-8000-${boot.toString(16).padStart(BOOT_DIGITS, '0')}`);

/** Minutes written lately, by their number: what happens now, and what expires a good while later. */
const MINUTES_KEPT = 64;
const minutes = new Float64Array(MINUTES_KEPT).fill(Number.NaN);
const texts: string[] = Array.from({ length: MINUTES_KEPT }, () => '');

/** The minute, RFC 3339 with milliseconds as messages have it. Nothing in the model looks closer at the times that they tell. */
export function minuteOf(ms: number): string {
  const minute = Math.floor(ms / MINUTE);
  const slot = minute % MINUTES_KEPT;
  if (minutes[slot] !== minute) {
    minutes[slot] = minute;
    texts[slot] = new Date(minute * MINUTE).toISOString();
  }
  return texts[slot] ?? '';
}
