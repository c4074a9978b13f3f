/** The policy that the model runs under unless told otherwise: three key sets, waves, windows. */
import { parse } from 'yaml';
import { checkRolloutPolicy } from '#gateway/rollout/check-policy.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { parseWith } from '#schema/parse.ts';
import { Policy, type PolicyDocument } from '#schema/policy.ts';

const DOCUMENT: PolicyDocument = {
  version: 1,
  classes: {
    egm: { keyTypes: ['EC-P256'], validity: '365d', grace: '400d' },
    kiosk: { keyTypes: ['EC-P256'], validity: '365d', grace: '90d' },
    pos: { keyTypes: ['EC-P256'], validity: '365d', grace: '90d' },
    service: { keyTypes: ['EC-P256'], validity: '90d', grace: '7d' },
  },
  keySets: {
    'wallet-kek': {
      algorithm: 'AES-256',
      use: 'wrap',
      scope: 'shared',
      cryptoperiod: '90d',
      rotation: { start: 'automatic', lead: '7d', plan: 'floor' },
    },
    'report-mac': {
      algorithm: 'HMAC-SHA256',
      use: 'mac',
      scope: 'per-device',
      selector: { class: ['egm', 'kiosk', 'pos'] },
      cryptoperiod: '90d',
      rotation: { start: 'automatic', lead: '7d', plan: 'floor' },
    },
    'jackpot-mac': {
      algorithm: 'HMAC-SHA256',
      use: 'mac',
      scope: 'shared',
      selector: { class: ['egm', 'service'] },
      cryptoperiod: '90d',
      rotation: { start: 'propose', lead: '7d', plan: 'floor' },
    },
  },
  rollouts: {
    plans: {
      floor: {
        canary: { count: 25, soak: '6h' },
        waves: [
          { name: 'tenth', percent: 10, soak: '1d' },
          { name: 'half', percent: 40, soak: '12h' },
          { name: 'all', rest: true },
        ],
        errors: 0.05,
        minimumSample: 10,
        quorum: 0.98,
        timeout: '15m',
        rate: { targets: 200, per: '1m' },
        stragglers: { action: 'propose', after: '30d' },
      },
      trust: {
        waves: [
          { name: 'first', percent: 5, soak: '1d' },
          { name: 'all', rest: true },
        ],
        windows: 'ignore',
      },
    },
    windows: {
      riverside: { cron: '0 3 * * *', duration: '4h', timeZone: 'America/Los_Angeles' },
      harbour: { cron: '30 4 * * 1-5', duration: '3h', timeZone: 'Europe/London' },
    },
  },
};

/** As a file of its own would say it: YAML, since JSON is. */
export const MODEL_POLICY = JSON.stringify(DOCUMENT, undefined, 2);

/** YAML to a policy. Errors: `config.invalid`, naming the key. */
export function readPolicy(document: string): Policy {
  let value: unknown;
  try {
    value = parse(document);
  } catch (error) {
    throw new CroupierError('config.invalid', `the policy is not YAML: ${errorMessage(error)}`, { cause: error });
  }
  const policy = parseWith(Policy, value, 'config.invalid', 'policy');
  checkRolloutPolicy(policy);
  return policy;
}
