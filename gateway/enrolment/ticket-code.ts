/** One-time codes of tickets: made, hashed, compared. The clear code exists in the ticket file alone (I2). */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '#schema/runtime/random.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUPS = 4;
const GROUP = 5;

/** 100 bits in Crockford's base32, e.g. `7QK2M-…`. `random` must be fit for secrets. */
export function makeTicketCode(random: Random): string {
  const bytes = random.bytes(GROUPS * GROUP);
  const symbols = [...bytes].map((byte) => ALPHABET[byte % 32] ?? '0');
  return Array.from({ length: GROUPS }, (_, group) => symbols.slice(group * GROUP, (group + 1) * GROUP).join('')).join(
    '-',
  );
}

/** What people type: lower case, missing hyphens, O for 0 and I or L for 1 are forgiven. */
export function normaliseCode(typed: string): string {
  const symbols = typed.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
  return (symbols.match(/.{1,5}/g) ?? []).join('-');
}

export interface HashedCode {
  readonly salt: string;
  readonly codeHash: string;
}

/** A 100-bit code needs no slow hash: it cannot be searched for. */
export function hashCode(code: string, salt: string): string {
  return createHash('sha256').update(Buffer.from(salt, 'hex')).update(normaliseCode(code)).digest('hex');
}

export function hashNewCode(code: string, random: Random): HashedCode {
  const salt = random.bytes(16).toString('hex');
  return { salt, codeHash: hashCode(code, salt) };
}

/** In constant time. */
export function codeMatches(code: string, hashed: HashedCode): boolean {
  return timingSafeEqual(Buffer.from(hashCode(code, hashed.salt), 'hex'), Buffer.from(hashed.codeHash, 'hex'));
}
