/** Who asks: what the request shows of ticket and certificate. Nothing is verified here. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import type { EnrolmentInput } from '#gateway/enrolment/enrol.ts';

type Credential = EnrolmentInput['credential'];

const BASIC = /^Basic +([A-Za-z0-9+/]{1,512}={0,2}) *$/i;

/**
 * A ticket in an Authorization header (RFC 7617): the device id, a colon, the one-time code.
 * Errors: `enrolment.code-invalid` for what cannot be one, `enrolment.unauthenticated` for another scheme.
 */
export function ticketOf(authorization: string): Extract<Credential, { kind: 'ticket' }> {
  if (!/^Basic(?: |$)/i.test(authorization)) throw new CroupierError('enrolment.unauthenticated');
  const [, encoded] = BASIC.exec(authorization) ?? [];
  const pair = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  if (colon < 1) throw new CroupierError('enrolment.code-invalid');
  return { kind: 'ticket', user: pair.slice(0, colon), code: pair.slice(colon + 1) };
}

/**
 * One credential decides. To renew, it is the certificate. To enrol, a ticket that is shown is meant: a device whose
 * certificate is of no use any more has no other way to say so.
 */
export function credentialOf(
  operation: EnrolmentInput['operation'],
  shown: { readonly authorization: string | undefined; readonly certificate: Uint8Array | undefined },
): Credential {
  const { authorization, certificate } = shown;
  if (certificate !== undefined && (operation === 'simplereenroll' || authorization === undefined)) {
    return { kind: 'certificate', certificate };
  }
  return authorization === undefined ? { kind: 'none' } : ticketOf(authorization);
}
