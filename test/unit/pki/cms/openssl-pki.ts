/** Certificates and keys made by the openssl command in a directory of their own. */
import { execFileSync } from 'node:child_process';
import { X509Certificate, createPrivateKey, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageSigner } from '#pki/cms/sign.ts';
import { softwareSigner } from '#pki/keys/software-key.ts';
import { CroupierError } from '#schema/errors.ts';

export type TestKey = 'EC-P256' | 'EC-P384' | 'RSA-2048';

export interface Issued {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly algorithm: TestKey;
  readonly certificate: Uint8Array;
  readonly privateKey: KeyObject;
}

export interface IssueOptions {
  readonly key?: TestKey;
  /** Issuer; self-signed without. */
  readonly by?: Issued;
  /** Lines of an openssl extension section. */
  readonly extensions?: readonly string[];
  readonly days?: number;
  /** Subject; `/CN=<name>` unless told. */
  readonly subject?: string;
  /** Certifies the key of this one again. */
  readonly keyOf?: Issued;
}

export const CA = [
  'basicConstraints=critical,CA:TRUE',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
];
export const SIGNER = ['basicConstraints=CA:FALSE', 'keyUsage=critical,digitalSignature', 'subjectKeyIdentifier=hash'];
export const DEVICE = [
  'basicConstraints=CA:FALSE',
  'keyUsage=critical,digitalSignature,keyAgreement,keyEncipherment',
  'extendedKeyUsage=clientAuth',
  'subjectKeyIdentifier=hash',
];

const GENERATE: Readonly<Record<TestKey, readonly string[]>> = {
  'EC-P256': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'EC-P384': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'RSA-2048': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
};

export class OpensslPki {
  readonly directory = mkdtempSync(join(tmpdir(), 'croupier-cms-'));
  private count = 0;

  /** Runs openssl and returns its standard output; throws with its standard error. */
  openssl(...args: readonly string[]): Buffer {
    return execFileSync('openssl', args, { cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  file(name: string, content: Uint8Array | string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  read(name: string): Buffer {
    return readFileSync(join(this.directory, name));
  }

  issue(name: string, options: IssueOptions = {}): Issued {
    const { key = 'EC-P256', by, extensions = CA, days = 30, subject = `/CN=${name}`, keyOf } = options;
    this.count += 1;
    const id = `${this.count}-${name}`;
    const keyFile = keyOf?.keyFile ?? `${id}.key`;
    if (keyOf === undefined) this.openssl('genpkey', ...GENERATE[key], '-out', keyFile);
    this.file(`${id}.ext`, `${extensions.join('\n')}\n`);
    this.openssl('req', '-new', '-key', keyFile, '-subj', subject, '-out', `${id}.csr`);
    const issuer = by === undefined ? ['-signkey', keyFile] : ['-CA', by.certificateFile, '-CAkey', by.keyFile];
    const validity = ['-days', String(days), '-set_serial', String(1000 + this.count)];
    this.openssl(
      'x509',
      '-req',
      '-in',
      `${id}.csr`,
      ...issuer,
      ...validity,
      '-extfile',
      `${id}.ext`,
      '-out',
      `${id}.crt`,
    );
    return {
      certificateFile: `${id}.crt`,
      keyFile,
      algorithm: keyOf?.algorithm ?? key,
      certificate: new X509Certificate(this.read(`${id}.crt`)).raw,
      privateKey: createPrivateKey(this.read(keyFile)),
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function messageSigner(issued: Issued, ...chain: readonly Issued[]): MessageSigner {
  const { certificate, privateKey } = issued;
  return { signer: softwareSigner(privateKey), certificate, chain: chain.map((one) => one.certificate) };
}

/** A generator of numbers below `bound` that is the same in every run (mulberry32). */
export function seeded(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

/** A copy of `bytes` with one bit changed in the octet at `offset`. */
export function flipped(bytes: Uint8Array, offset: number, bit = 0): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[offset] = (copy[offset] ?? 0) ^ (1 << bit);
  return copy;
}

/** Offset of `part` in `whole`, which must hold it once. */
export function offsetOf(whole: Uint8Array, part: Uint8Array): number {
  const found = Buffer.from(whole).indexOf(part);
  if (found < 0 || Buffer.from(whole).indexOf(part, found + 1) >= 0) throw new Error('not exactly one occurrence');
  return found;
}

/** The code of the error that `action` throws, or `accepted`. */
export function refusalCode(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error instanceof CroupierError ? error.code : error;
  }
  return 'accepted';
}
