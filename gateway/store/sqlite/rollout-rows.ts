/** Rollouts and their targets, from rows to records and back. A rollout's row is flat: columns its kind lacks are null. */
import { z } from 'zod';
import {
  ApprovalId,
  DeviceClass,
  DeviceId,
  KeySetName,
  KeyVersionNumber,
  RolloutId,
  Sha256,
  SiteName,
  Timestamp,
  TrustVersion,
} from '#schema/ids.ts';
import { RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import {
  OLD_VERSION_STATES,
  ROLLOUT_STATES,
  TARGET_STATES,
  type Campaign,
  type RolloutRecord,
  type RolloutTarget,
  type TargetTally,
} from '#gateway/ports/store/records.ts';
import type { PlanDevice } from '#gateway/ports/store/rollouts.ts';
import { Code, DeviceStateName, Flag, Instant, Labels, deviceState, jsonText, ms, optional, reader } from './rows.ts';

/** Texts that are kept parsed; a store has a handful of open rollouts, and every transaction reads them. */
const TEXTS_KEPT = 256;

/** JSON that is parsed once for as long as its text comes again. What is read is shared: nobody may change it. */
function jsonOnce<Schema extends z.ZodType>(schema: Schema) {
  const parsed = new Map<string, z.output<Schema>>();
  const read = jsonText.pipe(schema);
  return z.string().transform((text, context): z.output<Schema> => {
    const known = parsed.get(text);
    if (known !== undefined) return known;
    const result = read.safeParse(text);
    if (!result.success) {
      context.addIssue({ code: 'custom', message: z.prettifyError(result.error) });
      return z.NEVER;
    }
    if (parsed.size >= TEXTS_KEPT) parsed.clear();
    parsed.set(text, result.data);
    return result.data;
  });
}

const StoredCampaign = z.strictObject({
  reason: z.enum(['ca-rollover', 'policy', 'compromise']),
  selector: Selector,
  issuer: optional(z.string()),
  before: Timestamp.transform((text) => new Date(text)),
});

const common = {
  id: RolloutId,
  plan: jsonOnce(RolloutPlan),
  planSha256: Sha256,
  state: z.enum(ROLLOUT_STATES),
  startAt: Instant,
  preparedAt: optional(Instant),
  wave: z.int(),
  waveOpenedAt: optional(Instant),
  waveSettledAt: optional(Instant),
  pausedAt: optional(Instant),
  pausedBy: optional(z.string()),
  pauseCode: optional(Code),
  pauseReason: optional(z.string()),
  stragglersAt: optional(Instant),
  requestedBy: z.string(),
  createdAt: Instant,
  activatedAt: optional(Instant),
  retiredAt: optional(Instant),
  finishedAt: optional(Instant),
};

const RolloutRow = z.discriminatedUnion('kind', [
  z.object({
    ...common,
    kind: z.literal('key-version'),
    keySet: KeySetName,
    fromVersion: KeyVersionNumber,
    toVersion: KeyVersionNumber,
  }),
  z.object({ ...common, kind: z.literal('trust-bundle'), fromVersion: TrustVersion, toVersion: TrustVersion }),
  z.object({ ...common, kind: z.literal('re-enrolment'), campaign: jsonOnce(StoredCampaign) }),
]);

export const rolloutRecord: (row: unknown) => RolloutRecord = reader(
  RolloutRow.transform(({ pausedAt, pausedBy, pauseCode, pauseReason, ...rollout }, context): RolloutRecord => {
    if (pausedAt === undefined) return { ...rollout, pause: undefined };
    if (pausedBy !== undefined && pauseCode !== undefined && pauseReason !== undefined)
      return { ...rollout, pause: { at: pausedAt, by: pausedBy, code: pauseCode, reason: pauseReason } };
    context.addIssue({ code: 'custom', message: 'paused by nobody or for no reason' });
    return z.NEVER;
  }),
  'rollouts',
);

/** Columns of what may change while a rollout is open. */
export function changingColumns(rollout: RolloutRecord) {
  return {
    state: rollout.state,
    preparedAt: ms(rollout.preparedAt),
    wave: rollout.wave,
    waveOpenedAt: ms(rollout.waveOpenedAt),
    waveSettledAt: ms(rollout.waveSettledAt),
    pausedAt: ms(rollout.pause?.at),
    pausedBy: rollout.pause?.by ?? null,
    pauseCode: rollout.pause?.code ?? null,
    pauseReason: rollout.pause?.reason ?? null,
    stragglersAt: ms(rollout.stragglersAt),
    activatedAt: ms(rollout.activatedAt),
    retiredAt: ms(rollout.retiredAt),
    finishedAt: ms(rollout.finishedAt),
  };
}

const campaignText = ({ reason, selector, issuer, before }: Campaign): string =>
  canonicalJson({ reason, selector, issuer: issuer ?? null, before: before.toISOString() });

function subjectColumns(rollout: RolloutRecord) {
  switch (rollout.kind) {
    case 'key-version':
      return { keySet: rollout.keySet, fromVersion: rollout.fromVersion, toVersion: rollout.toVersion };
    case 'trust-bundle':
      return { fromVersion: rollout.fromVersion, toVersion: rollout.toVersion };
    case 're-enrolment':
      return { campaign: campaignText(rollout.campaign) };
  }
}

export function rolloutColumns(rollout: RolloutRecord) {
  return {
    id: rollout.id,
    kind: rollout.kind,
    ...subjectColumns(rollout),
    plan: canonicalJson(rollout.plan),
    planSha256: rollout.planSha256,
    startAt: rollout.startAt.getTime(),
    requestedBy: rollout.requestedBy,
    createdAt: rollout.createdAt.getTime(),
    ...changingColumns(rollout),
  };
}

export const rolloutTarget: (row: unknown) => RolloutTarget = reader(
  z.object({
    rollout: RolloutId,
    device: DeviceId,
    wave: z.int(),
    position: z.int(),
    service: Flag,
    state: z.enum(TARGET_STATES),
    code: optional(z.string()),
    reason: optional(z.string()),
    deferredUntil: optional(Instant),
    offeredAt: optional(Instant),
    attempts: z.int(),
    changedAt: Instant,
    old: z.enum(OLD_VERSION_STATES),
    signedOff: optional(ApprovalId),
  }),
  'rollout_targets',
);

export const targetTally: (row: unknown) => TargetTally = reader(
  z.object({
    wave: z.int(),
    service: Flag,
    state: z.enum(TARGET_STATES),
    online: Flag,
    deferred: Flag,
    old: z.enum(OLD_VERSION_STATES),
    targets: z.int(),
  }),
  'rollout_tallies',
);

/** What a plan wants to know of a device besides its record. */
export const planPresence = reader(z.object({ connected: Flag, lastSeenAt: optional(Instant) }), 'device_sync');

/** A plan looks at every device of the floor, so that no more is read than it needs. */
export const planDevice: (row: unknown) => PlanDevice = reader(
  z
    .object({
      id: DeviceId,
      class: DeviceClass,
      site: SiteName,
      labels: Labels,
      state: DeviceStateName,
      stateCode: optional(Code),
      connected: Flag,
      lastSeenAt: optional(Instant),
      issuer: optional(z.string()),
      certifiedAt: optional(Instant),
      notAfter: optional(Instant),
    })
    .transform(({ state, stateCode, issuer, certifiedAt, notAfter, ...device }): PlanDevice => {
      const isCertified = issuer !== undefined && certifiedAt !== undefined && notAfter !== undefined;
      return {
        ...device,
        state: deviceState(state, stateCode),
        certificate: isCertified ? { issuer, createdAt: certifiedAt, notAfter } : undefined,
      };
    }),
  'devices',
);
