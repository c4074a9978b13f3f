/** When a certificate is renewed. */
import { hash } from 'node:crypto';
import type { Identities } from '../state/state.ts';
import { materialOf } from './material.ts';

/** A twentieth of the validity, so that a floor enrolled in one night does not renew in one night. */
const JITTER_SHARE = 1 / 20;
/** The last fifth of a deadline is left for attempts that fail. */
const DEADLINE_SHARE = 0.8;

interface Validity {
  readonly der: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Uniform in [0, 1), from the certificate, so that it is the same after a restart. */
const fractionOf = (der: Uint8Array): number => hash('sha256', der, 'buffer').readUInt32BE(0) / 2 ** 32;

/**
 * Two thirds through the validity, later by a jitter of up to a twentieth. Counted back from `notAfter`, because the
 * issuer may have dated `notBefore` back.
 */
export function renewalTime({ der, notBefore, notAfter }: Validity): Date {
  const validity = notAfter.getTime() - notBefore.getTime();
  return new Date(notAfter.getTime() - validity / 3 + fractionOf(der) * validity * JITTER_SHARE);
}

/** When to renew if the gateway wants it done by `deadline`: the floor is spread over the time until then. */
export function renewalBefore(deadline: Date, now: Date, der: Uint8Array): Date {
  const left = Math.max(0, deadline.getTime() - now.getTime());
  return new Date(now.getTime() + left * DEADLINE_SHARE * fractionOf(der));
}

/**
 * When this identity is to be renewed; undefined while none is held or the next one is held already. One whose issuer is
 * not trusted any more (`isTrusted`) has been due for long: only its grace is left.
 */
export function renewalDue({ current, next, renewAt }: Identities, isTrusted = true): Date | undefined {
  if (current === undefined || next !== undefined) return undefined;
  if (!isTrusted) return new Date(0);
  const { notBefore, notAfter } = materialOf(current);
  const scheduled = renewalTime({ der: current.certificate, notBefore, notAfter });
  return renewAt !== undefined && renewAt < scheduled ? renewAt : scheduled;
}
