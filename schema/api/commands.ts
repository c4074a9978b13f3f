/**
 * What operators can ask for: one schema per action. The same object is what an approval binds to, so it holds
 * everything that matters and no secret: codes and tokens stay with whoever asks, only their hashes travel.
 */
import { z } from 'zod';
import {
  ApprovalId,
  Base64,
  DeviceId,
  EnrolmentId,
  KeySetName,
  KeyVersionNumber,
  OperatorName,
  RolloutId,
  Sha256,
  Timestamp,
} from '../ids.ts';
import { InventoryRow } from '../inventory.ts';
import { TrustPurpose } from '../messages/trust-bundle.ts';
import { Role, type Action } from '../operators.ts';
import { PlanName, Selector } from '../rollout-plan.ts';

const Reason = z.string().min(1).max(500);

export const PolicyApply = z.strictObject({
  /** YAML. */
  document: z.string().max(1_000_000),
  /** SHA-256 of the policy that this one replaces; null for the first. Guards against overwriting unseen changes. */
  replaces: Sha256.nullable(),
});

export const OperatorAdd = z.strictObject({
  name: OperatorName,
  role: Role,
  /** SHA-256 of the token, hex. */
  tokenHash: Sha256,
});

export const DeviceImport = z.strictObject({ rows: z.array(InventoryRow).min(1).max(100_000) });

export const TicketRequest = z.strictObject({
  device: DeviceId,
  /** Salt, hex, and SHA-256(salt || code), hex. */
  salt: z.string().regex(/^[0-9a-f]{32}$/),
  codeHash: Sha256,
});
export const DeviceTicket = z.strictObject({ tickets: z.array(TicketRequest).min(1).max(10_000) });

export const DeviceQuarantine = z.strictObject({ device: DeviceId, reason: Reason });
export const DeviceRevoke = z.strictObject({ device: DeviceId, reason: Reason });
export const DeviceRelease = z.strictObject({ device: DeviceId, reason: Reason });
export const DeviceReBaseline = z.strictObject({ device: DeviceId, reason: Reason });

export const EnrolmentApprove = z.strictObject({
  enrolment: EnrolmentId,
  /** The inventory's device that this request comes from; needed when the request names none. */
  device: DeviceId.optional(),
});
export const EnrolmentRefuse = z.strictObject({ enrolment: EnrolmentId, reason: Reason });

/** How a change is rolled out. The gateway fills in what is missing before anybody approves it. */
const rolloutTerms = {
  /** Plan of the policy; the default plan unless named. */
  plan: PlanName.optional(),
  /** Hash of the plan as the requester saw it: what the approval binds to. */
  planSha256: Sha256.optional(),
  /** Nothing is sent before. */
  startAt: Timestamp.optional(),
};

export const KeysetRotate = z.strictObject({
  keySet: KeySetName,
  reason: Reason.optional(),
  /** Ends a rotation that is still on its way. */
  supersede: z.boolean().optional(),
  ...rolloutTerms,
});
export const KeysetCompromise = z.strictObject({ keySet: KeySetName, version: KeyVersionNumber, reason: Reason });
export const CampaignCause = z.enum(['ca-rollover', 'policy', 'compromise']);
export const EnrolmentCampaign = z.strictObject({
  cause: CampaignCause,
  reason: Reason,
  selector: Selector.default({}),
  /** Only certificates of this CA (its key label). */
  issuer: z.string().max(64).optional(),
  /** Only certificates issued before; the time of the request unless said. */
  before: Timestamp.optional(),
  ...rolloutTerms,
});
export const RolloutPause = z.strictObject({ rollout: RolloutId, reason: Reason });
export const RolloutResume = z.strictObject({
  rollout: RolloutId,
  reason: Reason.optional(),
  /** Which pause ends: when it began, as the requester saw it; the present one unless said. */
  pausedAt: Timestamp.optional(),
});
export const RolloutAbort = z.strictObject({ rollout: RolloutId, reason: Reason });
/** Without devices, all that have failed. */
export const RolloutRetry = z.strictObject({
  rollout: RolloutId,
  devices: z.array(DeviceId).min(1).max(10_000).optional(),
});
const NamedDevices = z.array(DeviceId).min(1).max(10_000);
export const RolloutExempt = z.strictObject({ rollout: RolloutId, devices: NamedDevices, reason: Reason });
export const RolloutSignOff = z.strictObject({ rollout: RolloutId, devices: NamedDevices, reason: Reason });
export const KeysetRetire = z.strictObject({ rollout: RolloutId });
export const KeysetDestroy = z.strictObject({ rollout: RolloutId });

export const TrustPublish = z.strictObject({
  /** Anchors of the operator's own purposes (DER, base64); a purpose with an empty list is removed. */
  anchors: z.record(TrustPurpose, z.array(Base64).max(32)).default({}),
  reason: Reason.optional(),
  ...rolloutTerms,
});

export const TrustImport = z.strictObject({
  /** Links of the chain that the gateway lacks, CMS DER, base64, in any order. */
  links: z
    .array(Base64.max(512 * 1024))
    .min(1)
    .max(256),
});

/** Number of an alert. */
export const AlertId = z.int().min(1);

export const AlertAcknowledge = z.strictObject({
  alert: AlertId,
  /** What was found or done; stands in the audit record. */
  note: Reason,
});

export const AuthorityPrepare = z.strictObject({
  role: z.enum(['device-ca', 'operations-ca', 'message-signer-standby']),
  reason: Reason.optional(),
});
export const AuthorityInstall = z.strictObject({
  role: z.enum(['device-ca', 'operations-ca', 'root']),
  /** PEM: the certificate of the authority, then those above it. */
  certificates: z.string().max(65_536),
  reason: Reason.optional(),
});
export const AuthoritySwitch = z.strictObject({
  role: z.enum(['device-ca', 'operations-ca', 'root', 'message-signer', 'message-signer-standby']),
  /** Message signers: the one that leaves is not trusted any more. */
  compromised: z.boolean().default(false),
  /** Although connected devices do not know the next one yet. */
  force: z.boolean().default(false),
  reason: Reason.optional(),
});
export const AuthorityWithdraw = z.strictObject({
  /** Label of the authority's key. */
  keyLabel: z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, 'not the label of an authority'),
  /** Although devices still have certificates of it. */
  force: z.boolean().default(false),
  reason: Reason.optional(),
});

export const ApprovalDecision = z.strictObject({
  approval: ApprovalId,
  /** Hash of the request that the approver has read. */
  sha256: Sha256,
});

/** Actions that go through `submit`, with their requests; the others are views or decisions about approvals. */
export interface CommandRequests {
  readonly 'policy.apply': z.infer<typeof PolicyApply>;
  readonly 'operator.add': z.infer<typeof OperatorAdd>;
  readonly 'device.import': z.infer<typeof DeviceImport>;
  readonly 'device.ticket': z.infer<typeof DeviceTicket>;
  readonly 'device.quarantine': z.infer<typeof DeviceQuarantine>;
  readonly 'device.revoke': z.infer<typeof DeviceRevoke>;
  readonly 'device.release': z.infer<typeof DeviceRelease>;
  readonly 'device.re-baseline': z.infer<typeof DeviceReBaseline>;
  readonly 'enrolment.approve': z.infer<typeof EnrolmentApprove>;
  readonly 'enrolment.refuse': z.infer<typeof EnrolmentRefuse>;
  readonly 'keyset.rotate': z.infer<typeof KeysetRotate>;
  readonly 'keyset.retire': z.infer<typeof KeysetRetire>;
  readonly 'keyset.destroy': z.infer<typeof KeysetDestroy>;
  readonly 'keyset.compromise': z.infer<typeof KeysetCompromise>;
  readonly 'enrolment.campaign': z.infer<typeof EnrolmentCampaign>;
  readonly 'rollout.pause': z.infer<typeof RolloutPause>;
  readonly 'rollout.resume': z.infer<typeof RolloutResume>;
  readonly 'rollout.abort': z.infer<typeof RolloutAbort>;
  readonly 'rollout.retry': z.infer<typeof RolloutRetry>;
  readonly 'rollout.exempt': z.infer<typeof RolloutExempt>;
  readonly 'rollout.sign-off': z.infer<typeof RolloutSignOff>;
  readonly 'trust.publish': z.infer<typeof TrustPublish>;
  readonly 'trust.import': z.infer<typeof TrustImport>;
  readonly 'authority.prepare': z.infer<typeof AuthorityPrepare>;
  readonly 'authority.install': z.infer<typeof AuthorityInstall>;
  readonly 'authority.switch': z.infer<typeof AuthoritySwitch>;
  readonly 'authority.withdraw': z.infer<typeof AuthorityWithdraw>;
  readonly 'alert.acknowledge': z.infer<typeof AlertAcknowledge>;
}

export type CommandAction = keyof CommandRequests & Action;
export type CommandRequest<A extends CommandAction> = CommandRequests[A];

export const COMMANDS: { readonly [A in CommandAction]: z.ZodType<CommandRequests[A]> } = {
  'policy.apply': PolicyApply,
  'operator.add': OperatorAdd,
  'device.import': DeviceImport,
  'device.ticket': DeviceTicket,
  'device.quarantine': DeviceQuarantine,
  'device.revoke': DeviceRevoke,
  'device.release': DeviceRelease,
  'device.re-baseline': DeviceReBaseline,
  'enrolment.approve': EnrolmentApprove,
  'enrolment.refuse': EnrolmentRefuse,
  'keyset.rotate': KeysetRotate,
  'keyset.retire': KeysetRetire,
  'keyset.destroy': KeysetDestroy,
  'keyset.compromise': KeysetCompromise,
  'enrolment.campaign': EnrolmentCampaign,
  'rollout.pause': RolloutPause,
  'rollout.resume': RolloutResume,
  'rollout.abort': RolloutAbort,
  'rollout.retry': RolloutRetry,
  'rollout.exempt': RolloutExempt,
  'rollout.sign-off': RolloutSignOff,
  'trust.publish': TrustPublish,
  'trust.import': TrustImport,
  'authority.prepare': AuthorityPrepare,
  'authority.install': AuthorityInstall,
  'authority.switch': AuthoritySwitch,
  'authority.withdraw': AuthorityWithdraw,
  'alert.acknowledge': AlertAcknowledge,
};

export function isCommandAction(action: string): action is CommandAction {
  return Object.hasOwn(COMMANDS, action);
}

/** Any JSON. It has been through `JSON.parse`, or goes to `JSON.stringify`, so that its shape is not walked again. */
export const JsonValue = z.custom<z.infer<ReturnType<typeof z.json>>>((value) => value !== undefined, 'missing');
export type JsonValue = z.infer<typeof JsonValue>;

/** What a submitted command answers. */
export const CommandAnswer = z.discriminatedUnion('state', [
  z.object({ state: z.literal('done'), result: JsonValue }),
  z.object({
    state: z.literal('approval-required'),
    approval: z.object({
      id: ApprovalId,
      action: z.string(),
      summary: z.string(),
      sha256: Sha256,
      expiresAt: z.string(),
    }),
  }),
]);
export type CommandAnswer = z.infer<typeof CommandAnswer>;
