/** Real SoftHSM2 tokens for tests, each in a temporary directory of its own. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openPkcs11KeyStore, type Pkcs11KeyStoreOptions } from '#pki/keystore/pkcs11/key-store.ts';
import type { KeyStore } from '#pki/keystore/port.ts';
import { initToken, prepareSoftHsm } from '#pki/keystore/softhsm.ts';

export interface TestToken {
  readonly module: string;
  readonly label: string;
  readonly pin: string;
  readonly soPin: string;
  /** Holds the PIN, mode 0600. */
  readonly pinFile: string;
  readonly directory: string;
  readonly configuration: string;
  /** Opens a key store on the token; `remove` closes it. */
  open(options?: Partial<Pkcs11KeyStoreOptions>): Promise<KeyStore>;
  /** Takes the token's files away, as if the HSM were unplugged. */
  unplug(): Promise<void>;
  plugIn(): Promise<void>;
  /** Closes what `open` gave and removes the directory. */
  remove(): Promise<void>;
}

/**
 * Makes a token and points SOFTHSM2_CONF at it. One process uses one token directory at a time: `remove` the token (or
 * close its key stores) before making another, or pass `directory` to make another token beside it.
 */
export async function makeTestToken(
  options: { readonly label?: string; readonly directory?: string } = {},
): Promise<TestToken> {
  const { label = 'croupier-test' } = options;
  const directory = options.directory ?? (await mkdtemp(path.join(tmpdir(), 'croupier-token-')));
  const pin = 'user-pin-of-a-test';
  const soPin = 'so-pin-of-a-test';
  const pinFile = path.join(directory, 'pin');
  const { module, configuration, tokens } = await prepareSoftHsm({ directory });
  try {
    await initToken({ module, directory, label, soPin, pin });
  } catch (error) {
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    throw error;
  }
  await writeFile(pinFile, `${pin}\n`, { mode: 0o600 });
  const opened: KeyStore[] = [];
  return {
    module,
    label,
    pin,
    soPin,
    pinFile,
    directory,
    configuration,
    async open(options = {}): Promise<KeyStore> {
      process.env['SOFTHSM2_CONF'] = configuration;
      const keyStore = await openPkcs11KeyStore({ module, tokenLabel: label, pin: { file: pinFile }, ...options });
      opened.push(keyStore);
      return keyStore;
    },
    unplug: () => rename(tokens, `${tokens}.away`),
    plugIn: () => rename(`${tokens}.away`, tokens),
    async remove(): Promise<void> {
      await Promise.all(opened.map((keyStore) => keyStore.close()));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
