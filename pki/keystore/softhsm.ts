/**
 * SoftHSM2, the embedded default. It keeps tokens as files below one directory and finds it through the environment
 * variable SOFTHSM2_CONF, which it reads when the module is initialised.
 *
 * A process sees one directory at a time: close every key store of one before opening one of another. That is how
 * the root CA lives on a token of its own, in a directory that is mounted for ceremonies only.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pkcs11js, { type Handle } from 'pkcs11js';
import { CroupierError } from '#schema/errors.ts';
import { describeFailure } from './pkcs11/errors.ts';
import { acquireModule, type Pkcs11Module } from './pkcs11/module.ts';
import { findSlots } from './pkcs11/token.ts';

/** Where distributions put the module. */
const USUAL_PATHS = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

const CONFIGURATION_FILE = 'softhsm2.conf';
const TOKEN_DIRECTORY = 'tokens';
const LABEL_WIDTH = 32;
const MINIMUM_PIN_LENGTH = 4;

/** Path of the SoftHSM2 module. Errors: `hsm.module-missing`. */
export function findSoftHsmModule(): string {
  const found = USUAL_PATHS.find(isReadable);
  if (found === undefined) {
    throw new CroupierError('hsm.module-missing', `SoftHSM2 is not installed: looked for ${USUAL_PATHS.join(', ')}`);
  }
  return found;
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

export interface SoftHsmLocation {
  /** Directory of configuration and tokens; made if it is not there. Absolute. */
  readonly directory: string;
  /** Default: what `findSoftHsmModule` finds. */
  readonly module?: string;
}

export interface PreparedSoftHsm {
  readonly module: string;
  readonly configuration: string;
  readonly tokens: string;
}

/**
 * Makes the directory (0700) and softhsm2.conf (0600) where they are missing, and points SOFTHSM2_CONF of this
 * process at it. What is there already stays, except modes that are too wide. Errors: `hsm.module-missing`,
 * `input.invalid`.
 */
export async function prepareSoftHsm({
  directory,
  module = findSoftHsmModule(),
}: SoftHsmLocation): Promise<PreparedSoftHsm> {
  if (!path.isAbsolute(directory) || /[\r\n]/.test(directory)) {
    throw new CroupierError('input.invalid', `the SoftHSM2 directory must be an absolute path: ${directory}`);
  }
  const tokens = path.join(directory, TOKEN_DIRECTORY);
  const configuration = path.join(directory, CONFIGURATION_FILE);
  for (const folder of [directory, tokens]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700);
  }
  const text = `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`;
  if (
    !existsSync(configuration) ||
    !(await readFile(configuration, 'utf8')).includes(`directories.tokendir = ${tokens}\n`)
  ) {
    await writeFile(configuration, text, { mode: 0o600 });
  }
  await chmod(configuration, 0o600);
  process.env['SOFTHSM2_CONF'] = configuration;
  return { module, configuration, tokens };
}

export interface TokenInitialisation extends SoftHsmLocation {
  readonly label: string;
  /** PIN of the security officer, at least 4 characters. */
  readonly soPin: string;
  /** PIN of the user, at least 4 characters. */
  readonly pin: string;
}

/**
 * Makes a token through PKCS#11 (C_InitToken, C_InitPIN), so that no PIN appears in an argument list. An existing
 * token of the label is never touched. Errors: `data.initialised`, `input.invalid`, `hsm.module-missing`,
 * `hsm.pin-wrong` (PIN refused as too short), `config.invalid`, `hsm.unavailable`.
 */
export async function initToken({ directory, module, label, soPin, pin }: TokenInitialisation): Promise<void> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._ -]{0,31}$/.test(label)) {
    throw new CroupierError('input.invalid', 'a token label has 1 to 32 letters, digits, blanks and . _ -');
  }
  if (Math.min(soPin.length, pin.length) < MINIMUM_PIN_LENGTH) {
    throw new CroupierError('hsm.pin-wrong', `a PIN of a token must have at least ${MINIMUM_PIN_LENGTH} characters`);
  }
  const prepared = await prepareSoftHsm({ directory, ...(module === undefined ? {} : { module }) });
  const shared = acquireModule(prepared.module);
  try {
    makeToken(shared, label, soPin, pin);
  } catch (error) {
    throw describeFailure(error, label, 1);
  } finally {
    shared.release(undefined);
  }
}

function makeToken({ api, path: modulePath }: Pkcs11Module, label: string, soPin: string, pin: string): void {
  if (findSlots(api, label).length > 0) {
    throw new CroupierError('data.initialised', `there is a token labelled ${JSON.stringify(label)} already`);
  }
  const isFree = (slot: Handle): boolean => (api.C_GetTokenInfo(slot).flags & pkcs11js.CKF_TOKEN_INITIALIZED) === 0;
  const slot = api.C_GetSlotList(true).find(isFree);
  if (slot === undefined)
    throw new CroupierError('hsm.unavailable', `${modulePath} offers no free slot for a new token`);
  api.C_InitToken(slot, soPin, label.padEnd(LABEL_WIDTH));
  const session = api.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  try {
    api.C_Login(session, pkcs11js.CKU_SO, soPin);
    api.C_InitPIN(session, pin);
    api.C_Logout(session);
  } finally {
    api.C_CloseSession(session);
  }
}
