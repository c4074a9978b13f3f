/** The fleet policy: one YAML file, applied like code (`croupier apply`). Durations are `90d`, `12h`, `30m`, `10s`. */
import { z } from 'zod';
import { DeviceClass, KeySetName } from './ids.ts';
import { WorkingKeyAlgorithm, WorkingKeyUse } from './messages/common.ts';
import { Duration } from './parse.ts';
import { PlanName, RolloutsPolicy, Selector } from './rollout-plan.ts';

export { selects, Selector } from './rollout-plan.ts';

/** Names as in pki/keys/signer.ts. */
export const DEVICE_KEY_TYPES = ['EC-P256', 'EC-P384', 'RSA-2048', 'RSA-3072', 'RSA-4096', 'Ed25519'] as const;
export const DeviceKeyType = z.enum(DEVICE_KEY_TYPES);
export type DeviceKeyType = z.infer<typeof DeviceKeyType>;

const days = (count: number): number => count * 86_400_000;

export const ClassPolicy = z.strictObject({
  /** Key types that a CSR may carry. Ed25519 cannot receive envelopes, so it is for devices without key sets. */
  keyTypes: z.array(DeviceKeyType).min(1),
  validity: Duration.refine((ms) => ms >= 60_000 && ms <= days(825), 'between 1m and 825d'),
  /** Point of renewal as a fraction of the validity. */
  renewAt: z
    .number()
    .min(0.1)
    .max(0.95)
    .default(2 / 3),
  /** How long after expiry the device may still renew with its last certificate. */
  grace: Duration.default(days(90)),
});
export type ClassPolicy = z.infer<typeof ClassPolicy>;

export const KeySetPolicy = z.strictObject({
  algorithm: WorkingKeyAlgorithm,
  use: WorkingKeyUse,
  /** `shared`: one value for all targets. `per-device`: each device gets its own, derived from the version's master. */
  scope: z.enum(['shared', 'per-device']),
  selector: Selector.default({}),
  /** Originator usage period (SP 800-57 part 1, 5.3). */
  cryptoperiod: Duration.refine((ms) => ms >= 60_000 && ms <= days(3_660), 'between 1m and 3660d').default(days(90)),
  rotation: z
    .strictObject({
      /** `propose`: an alert says when it is due. `automatic`: it is started when it is due. `manual`: it is only listed. */
      start: z.enum(['manual', 'propose', 'automatic']).default('propose'),
      /** Due so long before the cryptoperiod ends: 14 days, or a quarter of the cryptoperiod if that is less. */
      lead: Duration.optional(),
      plan: PlanName.optional(),
    })
    .prefault({}),
});
export type KeySetPolicy = z.infer<typeof KeySetPolicy>;

export const Policy = z.strictObject({
  version: z.literal(1),
  classes: z.record(DeviceClass, ClassPolicy),
  keySets: z.record(KeySetName, KeySetPolicy).default({}),
  tickets: z.strictObject({ validity: Duration.default(days(3)) }).prefault({}),
  enrolment: z
    .strictObject({
      /** An identical CSR within this time gets the same certificate again. */
      repeatWindow: Duration.default(days(1)),
      /** Seconds a parked client is asked to wait. */
      parkedRetry: Duration.default(60_000),
      maxParked: z.int().min(0).max(100_000).default(1_000),
    })
    .prefault({}),
  trust: z.strictObject({ validity: Duration.default(days(365)) }).prefault({}),
  rollouts: RolloutsPolicy.prefault({}),
  delivery: z
    .strictObject({
      /** An update is valid for this long. */
      updateValidity: Duration.default(days(7)),
      /** First repetition of an unanswered update; doubles up to `resendMax`. */
      resendAfter: Duration.default(20_000),
      resendMax: Duration.default(1_800_000),
    })
    .prefault({}),
});
export type Policy = z.infer<typeof Policy>;
/** A policy as written, durations still text. */
export type PolicyDocument = z.input<typeof Policy>;
