/** Randomness comes in through this port. Keys never do: those come from the HSM or from node:crypto. */
import { createHash, randomBytes } from 'node:crypto';

export interface Random {
  bytes(length: number): Buffer;
  /** Uniform in [0, 1). */
  fraction(): number;
  /** A UUID, version 7 (time-ordered) or 4. */
  uuid(): string;
}

function uuidFrom(bytes: Buffer): string {
  const octets = Buffer.from(bytes);
  octets[6] = ((octets[6] ?? 0) & 0x0f) | 0x40;
  octets[8] = ((octets[8] ?? 0) & 0x3f) | 0x80;
  const hex = octets.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const fractionOf = (bytes: Buffer): number => bytes.readUIntBE(0, 6) / 2 ** 48;

export const systemRandom: Random = {
  bytes: (length) => randomBytes(length),
  fraction: () => fractionOf(randomBytes(6)),
  uuid: () => crypto.randomUUID(),
};

/** Reproducible randomness from a seed, for the simulator and for tests. Never for anything secret. */
export function seededRandom(seed: string): Random {
  let block = 0;
  const bytes = (length: number): Buffer => {
    const parts: Buffer[] = [];
    for (let have = 0; have < length; have += 32) {
      parts.push(createHash('sha256').update(`${seed}/${block}`).digest());
      block += 1;
    }
    return Buffer.concat(parts).subarray(0, length);
  };
  return { bytes, fraction: () => fractionOf(bytes(6)), uuid: () => uuidFrom(bytes(16)) };
}
