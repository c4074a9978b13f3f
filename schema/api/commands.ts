/**
 * What operators can ask for: one schema per action. The same object is what an approval binds to, so it holds
 * everything that matters and no secret: codes and tokens stay with whoever asks, only their hashes travel.
 */
import { z } from 'zod';
import { ApprovalId, Base64, DeviceId, EnrolmentId, KeySetName, OperatorName, RolloutId, Sha256 } from '../ids.ts';
import { InventoryRow } from '../inventory.ts';
import { TrustPurpose } from '../messages/trust-bundle.ts';
import { Role, type Action } from '../operators.ts';

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

export const EnrolmentApprove = z.strictObject({
  enrolment: EnrolmentId,
  /** The inventory's device that this request comes from; needed when the request names none. */
  device: DeviceId.optional(),
});
export const EnrolmentRefuse = z.strictObject({ enrolment: EnrolmentId, reason: Reason });

export const KeysetRotate = z.strictObject({ keySet: KeySetName, reason: Reason.optional() });
export const KeysetRetire = z.strictObject({ rollout: RolloutId });
export const KeysetDestroy = z.strictObject({ rollout: RolloutId });

export const TrustPublish = z.strictObject({
  /** Anchors of the operator's own purposes (DER, base64); a purpose with an empty list is removed. */
  anchors: z.record(TrustPurpose, z.array(Base64).max(32)).default({}),
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
  readonly 'enrolment.approve': z.infer<typeof EnrolmentApprove>;
  readonly 'enrolment.refuse': z.infer<typeof EnrolmentRefuse>;
  readonly 'keyset.rotate': z.infer<typeof KeysetRotate>;
  readonly 'keyset.retire': z.infer<typeof KeysetRetire>;
  readonly 'keyset.destroy': z.infer<typeof KeysetDestroy>;
  readonly 'trust.publish': z.infer<typeof TrustPublish>;
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
  'enrolment.approve': EnrolmentApprove,
  'enrolment.refuse': EnrolmentRefuse,
  'keyset.rotate': KeysetRotate,
  'keyset.retire': KeysetRetire,
  'keyset.destroy': KeysetDestroy,
  'trust.publish': TrustPublish,
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
