/** What updates, reports and trust bundles have in common. */
import { z } from 'zod';

export const MESSAGE_VERSION = 1;

/** Largest CMS message that either side accepts, in bytes. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

/** 128 bits or more, base64url, chosen by the device; the update that answers it proves its own freshness. */
export const Nonce = z.string().regex(/^[A-Za-z0-9_-]{22,64}$/, 'not a nonce');

/** Check value of a working key: first 5 octets of HMAC-SHA-256(key, "croupier kcv 1"), hex. */
export const KeyCheckValue = z.string().regex(/^[0-9a-f]{10}$/, 'not a key check value');

export const WORKING_KEY_ALGORITHMS = ['AES-128', 'AES-256', 'HMAC-SHA256'] as const;
export const WorkingKeyAlgorithm = z.enum(WORKING_KEY_ALGORITHMS);
export type WorkingKeyAlgorithm = z.infer<typeof WorkingKeyAlgorithm>;

/** What a working key may be used for; one purpose each (SP 800-57 part 1, 5.2). */
export const WORKING_KEY_USES = ['wrap', 'encrypt', 'mac'] as const;
export const WorkingKeyUse = z.enum(WORKING_KEY_USES);
export type WorkingKeyUse = z.infer<typeof WorkingKeyUse>;

/** The version field is looked at before anything else, so that a newer message is refused by name. */
export const MessageHead = z.looseObject({ v: z.int(), type: z.string() });
