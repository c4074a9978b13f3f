/** Weaknesses that an RSA modulus shows without being factored. Pure arithmetic on public values. */

function primesBetween(first: number, last: number): readonly number[] {
  const primes: number[] = [];
  for (let n = 2; n <= last; n += 1) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  return primes.filter((prime) => prime >= first);
}

const SMALL_PRIMES = primesBetween(3, 751);
const SMALL_PRODUCT = SMALL_PRIMES.reduce((product, prime) => product * BigInt(prime), 1n);

/** A prime under 752 (SP 800-89, 5.3.3) that divides the modulus, if there is one. */
export function smallFactor(modulus: bigint): number | undefined {
  const residue = modulus % SMALL_PRODUCT;
  return SMALL_PRIMES.find((prime) => residue % BigInt(prime) === 0n);
}

/** The residues that powers of 65537 take modulo each prime, where they do not take all of them. */
const ROCA_RESIDUES: ReadonlyMap<number, ReadonlySet<number>> = new Map(
  primesBetween(3, 167).flatMap((prime) => {
    const powers = new Set<number>();
    for (let power = 1; !powers.has(power); power = (power * (65537 % prime)) % prime) powers.add(power);
    return powers.size < prime - 1 ? [[prime, powers] as const] : [];
  }),
);
const ROCA_PRODUCT = [...ROCA_RESIDUES.keys()].reduce((product, prime) => product * BigInt(prime), 1n);

/**
 * The fingerprint of keys from Infineon's RSALib (CVE-2017-15361, "ROCA"): both primes are k·M + 65537^a mod M, so the
 * modulus is a power of 65537 modulo every prime in M. A sound key has it with a probability under 2^-27.
 */
export function hasRocaFingerprint(modulus: bigint): boolean {
  const residue = modulus % ROCA_PRODUCT;
  for (const [prime, powers] of ROCA_RESIDUES) {
    if (!powers.has(Number(residue % BigInt(prime)))) return false;
  }
  return true;
}

function floorSquareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt(Math.ceil(value.toString(16).length / 2) * 4);
  for (;;) {
    const better = (root + value / root) >> 1n;
    if (better >= root) return root;
    root = better;
  }
}

const FERMAT_ROUNDS = 100;

/** Whether Fermat's method factors the modulus at once, since its primes are too close (CVE-2022-26320). */
export function hasCloseFactors(modulus: bigint): boolean {
  let middle = floorSquareRoot(modulus);
  if (middle * middle < modulus) middle += 1n;
  let square = middle * middle - modulus;
  for (let round = 0; round < FERMAT_ROUNDS; round += 1) {
    // A square is 0, 1, 4 or 9 modulo 16; most candidates need no root.
    if ([0n, 1n, 4n, 9n].includes(square & 15n) && floorSquareRoot(square) ** 2n === square) return true;
    square += 2n * middle + 1n;
    middle += 1n;
  }
  return false;
}
