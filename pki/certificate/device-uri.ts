/** The SPIFFE ID of a device: `spiffe://<realm>/<site>/<class>/<id>` (SPIFFE-ID, 2). The realm is the trust domain. */
import { CroupierError } from '#schema/errors.ts';

export interface DeviceIdentity {
  readonly realm: string;
  readonly site: string;
  readonly class: string;
  readonly id: string;
}

const TRUST_DOMAIN = '[a-z0-9._-]{1,63}';
const SEGMENT = '(?!\\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}';
const DEVICE_URI = new RegExp(`^spiffe://(${TRUST_DOMAIN})/(${SEGMENT})/(${SEGMENT})/(${SEGMENT})$`);

/** The identity in a SAN URI, or undefined if the URI has another form. */
export function parseDeviceUri(uri: string): DeviceIdentity | undefined {
  const [, realm, site, deviceClass, id] = DEVICE_URI.exec(uri) ?? [];
  if (realm === undefined || site === undefined || deviceClass === undefined || id === undefined) return undefined;
  return { realm, site, class: deviceClass, id };
}

/** The SAN URI of a device. Errors: `input.invalid` for parts with other characters than SPIFFE allows. */
export function deviceUri(identity: DeviceIdentity): string {
  const uri = `spiffe://${identity.realm}/${identity.site}/${identity.class}/${identity.id}`;
  if (parseDeviceUri(uri) === undefined) {
    throw new CroupierError(
      'input.invalid',
      `realm, site, class or id of ${JSON.stringify(identity.id)} has characters that a SPIFFE ID may not have`,
    );
  }
  return uri;
}
