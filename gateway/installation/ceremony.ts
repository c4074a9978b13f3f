/**
 * The offline half of a ceremony, on the machine that has the root's token and nothing else of a realm: makes a root, or
 * has it sign the request of an intermediate. Beside the certificate it leaves a record, JSON lines: the intent (serial
 * number and to-be-signed bytes), durable before the key signs, then what was made.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { intermediateCeremony, requestedIntermediate } from '#pki/ceremony/intermediate.ts';
import { ROOT_LABEL } from '#pki/ceremony/labels.ts';
import type { CeremonyRecord, CeremonyResult, CeremonySetting } from '#pki/ceremony/record.ts';
import { rootCeremony } from '#pki/ceremony/root.ts';
import { readIssuer } from '#pki/certificate/issuer.ts';
import { decodePem, encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { findSoftHsmModule } from '#pki/keystore/softhsm.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { writePublicFile } from './data-directory.ts';
import { makeHsmToken, openRootToken, rootTokenLabel } from './hsm-token.ts';

export const ROOT_YEARS = 20;
export const INTERMEDIATE_YEARS = 5;

export interface OfflineCeremony {
  /** Directory of the root's token. */
  readonly rootToken: string;
  /** File with its PIN; `pin` beside the token unless told. */
  readonly rootPin?: string | undefined;
  /** The people present. */
  readonly performedBy: readonly string[];
  /** Where the certificate goes, PEM; the record goes to the same name with `.ceremony.jsonl`. Neither may exist. */
  readonly out: string;
  readonly now: Date;
}

export interface OfflineResult {
  readonly record: CeremonyRecord;
  readonly certificateFile: string;
  readonly recordFile: string;
}

/** Appends a line and waits for the disk. */
async function appendLine(file: string, flag: 'ax' | 'a', line: object): Promise<void> {
  try {
    const handle = await open(file, flag, 0o600);
    try {
      await handle.appendFile(`${JSON.stringify(line)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new CroupierError('input.invalid', `${file} cannot be written: ${errorMessage(error)}`, { cause: error });
  }
}

async function readFileOf(file: string, what: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw new CroupierError('config.missing', `${what} ${file} cannot be read: ${errorMessage(error)}`, {
      cause: error,
    });
  });
}

async function perform(
  { out, performedBy, now }: OfflineCeremony,
  { realm, operator }: Pick<CeremonySetting, 'realm' | 'operator'>,
  ceremony: (setting: CeremonySetting) => Promise<CeremonyResult>,
  above: readonly Uint8Array[],
): Promise<OfflineResult & { readonly certificate: Uint8Array }> {
  const recordFile = `${out}.ceremony.jsonl`;
  const { certificate, record } = await ceremony({
    realm,
    operator,
    performedBy,
    now,
    randomBytes: (length) => randomBytes(length),
    recordIntent: ({ serialNumber, tbs }) =>
      appendLine(recordFile, 'ax', {
        kind: 'intent',
        at: now.toISOString(),
        realm,
        performedBy,
        serialNumber,
        tbs: Buffer.from(tbs).toString('base64'),
      }),
  });
  await appendLine(recordFile, 'a', { kind: 'made', ...record });
  await writePublicFile(out, encodePemAll('CERTIFICATE', [certificate, ...above]));
  return { certificate, record, certificateFile: out, recordFile };
}

export interface SigningCeremony extends OfflineCeremony {
  /** File with the request of `croupier authority prepare`, PEM. */
  readonly csr: string;
  /** File with the root's certificate, PEM; `root.pem` beside the token unless told. */
  readonly rootCertificate?: string | undefined;
  readonly years: number;
}

/**
 * Has the root sign the request of a Device CA or Operations CA. Writes the certificate and, after it, the root's.
 * Errors: `config.missing`, `csr.*`, `certificate.*`, `hsm.*`, `input.invalid` when a file is there already.
 */
export async function signOffline(options: SigningCeremony): Promise<OfflineResult> {
  const { rootToken, rootPin, years } = options;
  const csr = decodePem('CERTIFICATE REQUEST', await readFileOf(options.csr, 'the request'));
  const rootFile = options.rootCertificate ?? path.join(rootToken, 'root.pem');
  const rootCertificate = decodePem('CERTIFICATE', await readFileOf(rootFile, 'the certificate of the root'));
  const wanted = requestedIntermediate(csr);
  const { organizationalUnit: realm = '' } = readIssuer(rootCertificate).distinguishedName;
  const keyStore = await openRootToken({ directory: rootToken, realm, pinFile: rootPin });
  try {
    const rootSigner = await keyStore.signer(ROOT_LABEL);
    return await perform(
      options,
      wanted,
      (setting) => intermediateCeremony({ ...setting, ...wanted, rootCertificate, rootSigner, csr, years }),
      [rootCertificate],
    );
  } finally {
    await keyStore.close();
  }
}

export interface NewRoot extends OfflineCeremony {
  readonly realm: string;
  /** Organisation in certificates. */
  readonly operator: string;
  /** 2 for the first successor of the root that the realm began with. */
  readonly generation: number;
}

/**
 * Makes a root in a token of its own, in a directory that is made for it. Its certificate is written beside the token,
 * too. Errors: `data.initialised` when there is a token already, `hsm.*`, `input.invalid`.
 */
export async function makeRootOffline(options: NewRoot): Promise<OfflineResult> {
  const { rootToken, rootPin, realm, operator, generation } = options;
  await mkdir(rootToken, { recursive: true, mode: 0o700 });
  const directory = path.resolve(rootToken);
  await makeHsmToken(directory, rootTokenLabel(realm), findSoftHsmModule());
  const keyStore = await openRootToken({ directory, realm, pinFile: rootPin });
  try {
    const made = await perform(
      options,
      { realm, operator },
      (setting) => rootCeremony({ ...setting, keyStore, algorithm: 'EC-P384', generation, years: ROOT_YEARS }),
      [],
    );
    await writePublicFile(path.join(directory, 'root.pem'), encodePem('CERTIFICATE', made.certificate));
    const { record, certificateFile, recordFile } = made;
    return { record, certificateFile, recordFile };
  } finally {
    await keyStore.close();
  }
}
