/** One token of a module: finding it by label, and opening sessions that are logged in. */
import { Buffer } from 'node:buffer';
import pkcs11js, { type Handle, type PKCS11 } from 'pkcs11js';
import { CroupierError } from '#schema/errors.ts';
import { TokenUnsound, returnValueOf } from './errors.ts';
import type { Pkcs11Module } from './module.ts';
import { createRefusedPin, readPin, type PinSource } from './pin.ts';

export interface Session {
  readonly api: PKCS11;
  readonly handle: Handle;
  readonly slot: Handle;
  /** Of the module, when the session was opened: in another generation the handle may be somebody else's. */
  readonly generation: number;
  /** Room for a signature; large enough for RSA-4096. */
  readonly output: Buffer;
  /** What a call on another thread reads. The binding holds no reference to it, so this one keeps it alive. */
  inUse: unknown;
}

export interface Token {
  readonly label: string;
  openSession(): Promise<Session>;
  /** Errors: `hsm.mechanism-unsupported`. */
  requireMechanism(mechanism: number, name: string): void;
}

const SESSION_FLAGS = pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION;
const SIGNATURE_ROOM = 512;
/** CK_STATE values of sessions that are logged in as user, read-only and read-write. */
const CKS_RO_USER_FUNCTIONS = 1;
const CKS_RW_USER_FUNCTIONS = 3;

/** Fixed-width fields of PKCS#11 end in blanks, or from some modules in NULs. */
export function trimField(field: string): string {
  return field.replace(/[\0 ]+$/, '');
}

/** Slots whose token has this label. */
export function findSlots(api: PKCS11, label: string): readonly Handle[] {
  return api.C_GetSlotList(true).filter((slot) => trimField(api.C_GetTokenInfo(slot).label) === label);
}

/** Throws what a lost login throws, if the session is not logged in as user. */
export function requireLogin(session: Session): void {
  if (!isLoggedIn(session)) throw new pkcs11js.Pkcs11Error('CKR_USER_NOT_LOGGED_IN:257', 257, 'C_GetSessionInfo');
}

function isLoggedIn(session: Session): boolean {
  const { state } = session.api.C_GetSessionInfo(session.handle);
  return state === CKS_RW_USER_FUNCTIONS || state === CKS_RO_USER_FUNCTIONS;
}

export function closeSession(module: Pkcs11Module, session: Session): void {
  if (session.generation !== module.generation) return;
  try {
    session.api.C_CloseSession(session.handle);
  } catch (error) {
    if (returnValueOf(error) === undefined) throw error;
    // The session was gone already, or the device is: there is nothing left to close.
  }
}

export function createToken(module: Pkcs11Module, label: string, pin: PinSource): Token {
  const { api } = module;
  const refusedPin = createRefusedPin();
  let located:
    | { readonly generation: number; readonly slot: Handle; readonly mechanisms: ReadonlySet<number> }
    | undefined;

  function locate(): { readonly slot: Handle; readonly mechanisms: ReadonlySet<number> } {
    if (located?.generation === module.generation) return located;
    const [slot, another] = findSlots(api, label);
    if (slot === undefined) {
      throw new CroupierError('hsm.token-absent', `${module.path} has no token labelled ${JSON.stringify(label)}`, {
        detail: { token: label },
      });
    }
    if (another !== undefined) {
      throw new CroupierError(
        'config.invalid',
        `${module.path} has several tokens labelled ${JSON.stringify(label)}; labels must be unique`,
      );
    }
    located = { generation: module.generation, slot, mechanisms: new Set(api.C_GetMechanismList(slot)) };
    return located;
  }

  async function login(session: Session): Promise<void> {
    const secret = await readPin(pin);
    if (refusedPin.isRefused(secret)) {
      throw new CroupierError(
        'hsm.pin-wrong',
        `HSM token ${label} has refused this PIN; it is not tried again, since the token may lock: correct it`,
      );
    }
    if (session.generation !== module.generation)
      throw new TokenUnsound('the module was initialised again during the login');
    try {
      api.C_Login(session.handle, pkcs11js.CKU_USER, secret);
    } catch (error) {
      const value = returnValueOf(error);
      if (value === 'CKR_USER_ALREADY_LOGGED_IN') return;
      if (value === 'CKR_PIN_INCORRECT') refusedPin.refuse(secret);
      throw error;
    }
  }

  return {
    label,
    async openSession(): Promise<Session> {
      const { slot } = locate();
      const handle = api.C_OpenSession(slot, SESSION_FLAGS);
      const session: Session = {
        api,
        handle,
        slot,
        generation: module.generation,
        output: Buffer.allocUnsafeSlow(SIGNATURE_ROOM),
        inUse: undefined,
      };
      try {
        if (!isLoggedIn(session)) await login(session);
      } catch (error) {
        closeSession(module, session);
        throw error;
      }
      return session;
    },
    requireMechanism(mechanism: number, name: string): void {
      if (!locate().mechanisms.has(mechanism)) {
        throw new CroupierError('hsm.mechanism-unsupported', `HSM token ${label} does not offer ${name}`, {
          detail: { token: label, mechanism: name },
        });
      }
    },
  };
}
