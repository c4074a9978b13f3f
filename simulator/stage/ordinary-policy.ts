/** The policy of a realm that is made for a scenario: that of a casino, with less patience. */
import type { PolicyDocument } from '#schema/policy.ts';

export const ORDINARY_POLICY: PolicyDocument = {
  version: 1,
  classes: {
    egm: { keyTypes: ['EC-P256', 'EC-P384', 'RSA-2048'], validity: '365d', grace: '400d' },
    kiosk: { keyTypes: ['EC-P256', 'EC-P384'], validity: '365d', grace: '90d' },
    pos: { keyTypes: ['EC-P256', 'EC-P384'], validity: '365d', grace: '90d' },
    service: { keyTypes: ['EC-P256', 'EC-P384'], validity: '90d', grace: '7d' },
  },
  keySets: {
    'wallet-kek': { algorithm: 'AES-256', use: 'wrap', scope: 'shared' },
    'report-mac': {
      algorithm: 'HMAC-SHA256',
      use: 'mac',
      scope: 'per-device',
      selector: { class: ['egm', 'kiosk', 'pos'] },
    },
  },
  enrolment: { parkedRetry: '2s' },
  delivery: { resendAfter: '2s', resendMax: '10s' },
};
