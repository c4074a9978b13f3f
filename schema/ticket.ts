/** Ticket: what a technician carries to a device. It holds a secret: files 0600, never logged. */
import { z } from 'zod';
import { DeviceId, Realm, Sha256, Timestamp } from './ids.ts';

/** 100 bits in Crockford's base32, four groups of five: can be typed on a keypad. */
export const TicketCode = z
  .string()
  .regex(/^[0-9A-HJKMNP-TV-Z]{5}(?:-[0-9A-HJKMNP-TV-Z]{5}){3}$/, 'not a one-time code');

export const Ticket = z.object({
  v: z.literal(1),
  type: z.literal('ticket'),
  realm: Realm,
  device: DeviceId,
  code: TicketCode,
  expiresAt: Timestamp,
  /** EST base URL, e.g. https://gateway:8443 */
  est: z.url({ protocol: /^https$/ }),
  /** e.g. mqtts://gateway:8883 */
  mqtt: z.url({ protocol: /^mqtts$/ }),
  /** Plain HTTP listener with trust links and CRL, e.g. http://gateway:8080 */
  public: z.url({ protocol: /^http$/ }),
  /** SHA-256 of the root certificate (DER). */
  root: Sha256,
});
export type Ticket = z.infer<typeof Ticket>;
