/** SoftHSM2 tokens of an installation: made with fresh PINs, which are kept beside them. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { openPkcs11KeyStore } from '#pki/keystore/pkcs11/key-store.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { findSoftHsmModule, initToken, prepareSoftHsm } from '#pki/keystore/softhsm.ts';
import { writePrivateFile } from './data-directory.ts';

/** Makes a token with fresh PINs, kept beside it in files of the owner alone. Errors: `data.initialised`, `hsm.*`. */
export async function makeHsmToken(directory: string, label: string, module: string): Promise<void> {
  const [pin, soPin] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
  await initToken({ directory, module, label, pin, soPin });
  await writePrivateFile(path.join(directory, 'pin'), pin);
  await writePrivateFile(path.join(directory, 'so-pin'), soPin);
}

/** Label of the token that holds the root key of a realm. */
export const rootTokenLabel = (realm: string): string => `croupier-root-${realm}`;

export interface RootToken {
  /** Where the token is, e.g. on a mounted medium. */
  readonly directory: string;
  readonly realm: string;
  /** File with its PIN; `pin` beside the token unless told. */
  readonly pinFile?: string | undefined;
}

/**
 * Opens the root's own token. A process sees one SoftHSM2 directory at a time: every other key store must be closed.
 * Errors: `hsm.module-missing`, `hsm.token-absent`, `hsm.pin-wrong`, `hsm.unavailable`.
 */
export async function openRootToken({ directory, realm, pinFile }: RootToken): Promise<KeyStore> {
  const module = findSoftHsmModule();
  await prepareSoftHsm({ directory: path.resolve(directory), module });
  return openPkcs11KeyStore({
    module,
    tokenLabel: rootTokenLabel(realm),
    pin: { file: pinFile ?? path.join(directory, 'pin') },
    sessions: 1,
  });
}
