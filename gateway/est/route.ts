/** Where a request goes: `/.well-known/est[/<label>]/<operation>` (RFC 7030, 3.2.2). Pure. */
import { CroupierError, type ErrorCode } from '#schema/errors.ts';
import { DeviceClass } from '#schema/ids.ts';

const METHODS = { cacerts: 'GET', csrattrs: 'GET', simpleenroll: 'POST', simplereenroll: 'POST' } as const;
export type EstOperation = keyof typeof METHODS;

/** Of the RFC, and not offered: devices make their own keys. */
const NOT_OFFERED: ReadonlySet<string> = new Set(['serverkeygen', 'fullcmc']);

export interface EstRoute {
  readonly operation: EstOperation;
  readonly label: DeviceClass | undefined;
}

/** A request that this server cannot serve by its form; the status says why. */
export class RequestRefused extends CroupierError {
  readonly status: 404 | 405 | 415 | 501;
  /** Headers beside the reason. */
  readonly headers: readonly string[];

  constructor(
    status: 404 | 405 | 415 | 501,
    message: string,
    code: ErrorCode = 'input.invalid',
    headers: readonly string[] = [],
  ) {
    super(code, message);
    this.status = status;
    this.headers = headers;
  }
}

const PREFIX = '/.well-known/est/';
const isOperation = (name: string): name is EstOperation => Object.hasOwn(METHODS, name);

/**
 * Labels are the classes of the policy, as they are: there is nothing to percent-decode in them.
 * Errors: `RequestRefused` (404, 405 with Allow, 501), with `enrolment.label-unknown` for a label that is no class.
 */
export function routeOf(method: string, target: string, classes: readonly string[]): EstRoute {
  const path = target.split('?', 1)[0] ?? '';
  const segments = path.startsWith(PREFIX) ? path.slice(PREFIX.length).split('/') : [];
  const operation = segments.at(-1) ?? '';
  if (segments.length < 1 || segments.length > 2)
    throw new RequestRefused(404, `there is nothing at this path; EST is under ${PREFIX}`);
  if (NOT_OFFERED.has(operation)) throw new RequestRefused(501, `${operation} is not offered`);
  if (!isOperation(operation))
    throw new RequestRefused(404, `there is no such EST operation; there are ${Object.keys(METHODS).join(', ')}`);
  const label = segments.length === 2 ? DeviceClass.safeParse(segments[0]).data : undefined;
  if (segments.length === 2 && (label === undefined || !classes.includes(label))) {
    throw new RequestRefused(
      404,
      `there is no EST label of this name; labels are the device classes`,
      'enrolment.label-unknown',
    );
  }
  const allowed = METHODS[operation];
  if (method !== allowed)
    throw new RequestRefused(405, `${operation} is asked for with ${allowed}`, 'input.invalid', ['Allow', allowed]);
  return { operation, label };
}

/** Errors: `RequestRefused` (415) for another type than application/pkcs10; parameters are passed over. */
export function checkContentType(header: string | undefined): void {
  const type = header?.split(';', 1)[0]?.trim().toLowerCase();
  if (type === 'application/pkcs10') return;
  throw new RequestRefused(415, 'the Content-Type of a certificate signing request is application/pkcs10');
}
