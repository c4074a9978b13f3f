/** Where the PIN of a token comes from. It is read for every login and never kept. */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { CroupierError } from '#schema/errors.ts';

/** A file that holds the PIN (one line), or a function that gives it; a buffer it gives is wiped after use. */
export type PinSource = { readonly file: string } | (() => Promise<string | Uint8Array>);

/** The PIN. PKCS#11 bindings want a string, which cannot be wiped: it is short-lived. Errors: `config.missing`, `hsm.pin-wrong`. */
export async function readPin(source: PinSource): Promise<string> {
  const pin =
    typeof source === 'function' ? text(await source()) : text(await readPinFile(source.file)).replace(/\r?\n$/, '');
  if (pin.length === 0)
    throw new CroupierError(
      'hsm.pin-wrong',
      `the PIN is empty${typeof source === 'function' ? '' : `: ${source.file}`}`,
    );
  return pin;
}

async function readPinFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CroupierError('config.missing', `the PIN file ${file} cannot be read`, {
      cause: error,
      detail: { file },
    });
  }
}

function text(pin: string | Uint8Array): string {
  if (typeof pin === 'string') return pin;
  const value = Buffer.from(pin.buffer, pin.byteOffset, pin.byteLength).toString('utf8');
  pin.fill(0);
  return value;
}

/** Remembers a refused PIN by its digest, so that retries do not count against the token's limit. */
export interface RefusedPin {
  refuse(pin: string): void;
  isRefused(pin: string): boolean;
}

export function createRefusedPin(): RefusedPin {
  let refused: string | undefined;
  const digest = (pin: string): string => createHash('sha256').update(pin).digest('base64');
  return {
    refuse(pin) {
      refused = digest(pin);
    },
    isRefused: (pin) => refused !== undefined && refused === digest(pin),
  };
}
