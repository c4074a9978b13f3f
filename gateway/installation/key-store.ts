/** Opens the HSM that the configuration names. */
import path from 'node:path';
import { openPkcs11KeyStore } from '#pki/keystore/pkcs11/key-store.ts';
import type { KeyStore, KeyStoreHealth } from '#pki/keystore/port.ts';
import { prepareSoftHsm } from '#pki/keystore/softhsm.ts';
import type { Config } from '#schema/config.ts';
import type { DataDirectory } from './data-directory.ts';

/** SoftHSM2 finds its tokens through an environment variable of this process; a vendor's module needs none of that. */
const isSoftHsm = (module: string): boolean => path.basename(module).startsWith('libsofthsm2');

/** Errors: `hsm.module-missing`, `hsm.token-absent`, `hsm.pin-wrong`, `hsm.unavailable`. */
export async function openConfiguredKeyStore(
  data: DataDirectory,
  config: Config,
  onHealthChange?: (health: KeyStoreHealth) => void,
): Promise<KeyStore> {
  const { hsm } = config;
  if (isSoftHsm(hsm.module)) await prepareSoftHsm({ directory: data.hsm, module: hsm.module });
  return openPkcs11KeyStore({
    module: hsm.module,
    tokenLabel: hsm.token,
    pin: { file: hsm.pinFile },
    sessions: hsm.sessions,
    signing: hsm.signing,
    ...(onHealthChange === undefined ? {} : { onHealthChange }),
  });
}
