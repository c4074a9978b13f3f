/**
 * The life of an authority: prepared -> next -> current -> previous -> withdrawn. Pure: which step is allowed, and which
 * records it changes. Of a role at most one is current and at most one on its way there.
 */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';
import type { AuditEvent } from '#schema/audit.ts';
import { parseCertificate } from '#pki/certificate/parse.ts';
import type { TrustBundle } from '#schema/messages/trust-bundle.ts';
import type { AuthorityRecord, AuthorityRole, AuthorityState } from '#gateway/ports/store/records.ts';
import type { AuthorityFacts, AuthorityOutcome } from '#gateway/ports/store/trust.ts';
import { authoritiesIn, isCertified, isIssuedBy, TRUSTED_STATES, type CertifiedAuthority } from './lineage.ts';

/** Roles whose key is made in the HSM by `authority.prepare`. */
export type PreparedRole = Extract<AuthorityRole, 'device-ca' | 'operations-ca' | 'message-signer-standby'>;
export type SwitchedRole = PreparedRole | Extract<AuthorityRole, 'root' | 'message-signer'>;

export interface Step {
  readonly at: Date;
  readonly actor: AuditEvent['actor'];
  readonly approval: AuditEvent['approval'];
}

type Decision = AuthorityOutcome;
type Change = Extract<AuthorityOutcome, { kind: 'change' }>;
type Refusal = Extract<AuthorityOutcome, { kind: 'refuse' }>;
export type Preparation = (Change & { readonly prepared: AuthorityRecord }) | Refusal;

/** Purpose of the anchors that a role's certificates are; message signers are named by their keys. */
const PURPOSE_OF = { root: 'transport', 'device-ca': 'identity', 'operations-ca': 'messages' } as const;
type AnchorRole = keyof typeof PURPOSE_OF;

const isAnchorRole = (role: AuthorityRole): role is AnchorRole => Object.hasOwn(PURPOSE_OF, role);

function event(
  action: string,
  step: Step,
  id: string,
  rest: Pick<AuditEvent, 'outcome'> & Partial<Pick<AuditEvent, 'code' | 'details'>>,
): AuditEvent {
  return {
    action: `authority.${action}`,
    actor: step.actor,
    ...(step.approval === undefined ? {} : { approval: step.approval }),
    object: { type: 'authority', id },
    ...rest,
  };
}

function refuse(
  action: string,
  step: Step,
  id: string,
  message: string,
  code: 'authority.not-found' | 'authority.state-refused' = 'authority.state-refused',
): Refusal {
  return {
    kind: 'refuse',
    error: new CroupierError(code, message),
    audit: [event(action, step, id, { outcome: 'denied', code })],
  };
}

interface Move {
  readonly state: AuthorityState;
  readonly role?: AuthorityRole;
}

const moved = (record: AuthorityRecord, { state, role = record.role }: Move, step: Step): AuthorityRecord => ({
  ...record,
  role,
  state,
  changedAt: step.at,
});

function change(action: string, step: Step, from: readonly AuthorityRecord[], put: readonly AuthorityRecord[]): Change {
  return {
    kind: 'change',
    put,
    audit: put.map(({ keyLabel, role, state }) =>
      event(action, step, keyLabel, {
        outcome: 'success',
        details: { role, state, before: from.find((record) => record.keyLabel === keyLabel)?.state ?? null },
      }),
    ),
  };
}

const inState = (
  records: readonly AuthorityRecord[],
  role: AuthorityRole,
  state: AuthorityState,
): AuthorityRecord | undefined => records.find((record) => record.role === role && record.state === state);

/**
 * A key of this label is about to be made for the role. One that was prepared before and waits for its certificate is
 * taken up again instead, since its key may be there and its request lost.
 */
export function decidePreparation(
  { records }: Pick<AuthorityFacts, 'records'>,
  wanted: { readonly role: PreparedRole; readonly keyLabel: string },
  step: Step,
): Preparation {
  const { role, keyLabel } = wanted;
  const next = inState(records, role, 'next');
  if (next !== undefined)
    return refuse('prepare', step, next.keyLabel, `${next.keyLabel} is next already: switch to it, or withdraw it`);
  const waiting = inState(records, role, 'prepared');
  const details = { role, state: 'prepared' } as const;
  if (waiting !== undefined) {
    const audit = [
      event('prepare', step, waiting.keyLabel, { outcome: 'success', details: { ...details, again: true } }),
    ];
    return { kind: 'change', put: [], prepared: waiting, audit };
  }
  const prepared: AuthorityRecord = {
    role,
    keyLabel,
    state: 'prepared',
    certificate: undefined,
    createdAt: step.at,
    changedAt: step.at,
  };
  const audit = [event('prepare', step, keyLabel, { outcome: 'success', details })];
  return { kind: 'change', put: [prepared], prepared, audit };
}

/** The prepared authority gets its certificate (DER), which has been checked, and is next. */
export function decideInstallation(
  { records }: Pick<AuthorityFacts, 'records'>,
  made: { readonly keyLabel: string; readonly certificate: Uint8Array },
  step: Step,
): Decision {
  const { keyLabel, certificate } = made;
  const prepared = records.find((record) => record.keyLabel === keyLabel);
  if (prepared === undefined)
    return refuse('install', step, keyLabel, `there is no ${keyLabel}`, 'authority.not-found');
  if (prepared.state !== 'prepared')
    return refuse('install', step, keyLabel, `${keyLabel} has its certificate; it is ${prepared.state}`);
  return change('install', step, records, [{ ...moved(prepared, { state: 'next' }, step), certificate }]);
}

/** A signer keeps its key and its state, and has another certificate (DER) for it from now on. */
export function decideRecertification(
  { records }: Pick<AuthorityFacts, 'records'>,
  made: { readonly keyLabel: string; readonly certificate: Uint8Array },
  step: Step,
): Decision {
  const { keyLabel, certificate } = made;
  const signer = records.find((record) => record.keyLabel === keyLabel);
  if (signer === undefined || (signer.state !== 'current' && signer.state !== 'next'))
    return refuse('recertify', step, keyLabel, `${keyLabel} is ${signer?.state ?? 'unknown'} and signs nothing`);
  return change('recertify', step, records, [{ ...signer, certificate, changedAt: step.at }]);
}

/** A root made elsewhere is next: a further anchor for TLS servers. */
export function decideRoot(
  { records }: Pick<AuthorityFacts, 'records'>,
  made: { readonly keyLabel: string; readonly certificate: Uint8Array },
  step: Step,
): Decision {
  const { keyLabel, certificate } = made;
  const next = inState(records, 'root', 'next');
  if (next !== undefined)
    return refuse('install', step, next.keyLabel, `${next.keyLabel} is next already: switch to it, or withdraw it`);
  const same = records.find((record) => isCertified(record) && Buffer.compare(record.certificate, certificate) === 0);
  if (same !== undefined || records.some((record) => record.keyLabel === keyLabel))
    return refuse('install', step, keyLabel, `this root is known as ${same?.keyLabel ?? keyLabel}`);
  const { at } = step;
  return change('install', step, records, [
    { role: 'root', keyLabel, state: 'next', certificate, createdAt: at, changedAt: at },
  ]);
}

function isNamedBy({ anchors, messageSigners }: TrustBundle, { role, certificate }: CertifiedAuthority): boolean {
  if (isAnchorRole(role)) return anchors[PURPOSE_OF[role]].includes(Buffer.from(certificate).toString('base64'));
  const { spkiSha256 } = parseCertificate(certificate);
  return messageSigners.some((entry) => entry.spkiSha256 === spkiSha256);
}

/** Why devices are not ready for what is to be used from now on; undefined if they are. */
function unready(
  { releasedBundle, devicesBehind }: AuthorityFacts,
  next: CertifiedAuthority,
  force: boolean,
): string | undefined {
  const { keyLabel } = next;
  if (releasedBundle === undefined || !isNamedBy(releasedBundle.body, next))
    return `no trust bundle that names ${keyLabel} is released yet: let its rollout go on (croupier rollout list)`;
  const { connected } = devicesBehind(releasedBundle.version);
  return connected === 0 || force
    ? undefined
    : `${connected} connected devices do not hold trust bundle ${releasedBundle.version} yet, which names ${keyLabel}: wait for them, or force it`;
}

function switchToNext(facts: AuthorityFacts, role: PreparedRole | 'root', force: boolean, step: Step): Decision {
  const { records } = facts;
  const next = inState(records, role, 'next');
  const current = inState(records, role, 'current');
  if (next === undefined || !isCertified(next))
    return refuse('switch', step, role, `there is no ${role} to switch to: prepare and install one`);
  const fault = isAnchorRole(role) ? unready(facts, next, force) : undefined;
  if (fault !== undefined) return refuse('switch', step, next.keyLabel, fault);
  // A signer that is named no more is trusted no more: there is no "previous" of it.
  const after: AuthorityState = isAnchorRole(role) ? 'previous' : 'withdrawn';
  return change('switch', step, records, [
    ...(current === undefined ? [] : [moved(current, { state: after }, step)]),
    moved(next, { state: 'current' }, step),
  ]);
}

/** Current and standby change places; one that is compromised leaves, and the other signs what comes. */
function switchSigners(facts: AuthorityFacts, compromised: boolean, force: boolean, step: Step): Decision {
  const { records } = facts;
  const current = inState(records, 'message-signer', 'current');
  const standby = inState(records, 'message-signer-standby', 'current');
  if (current === undefined || standby === undefined || !isCertified(standby))
    return refuse('switch', step, 'message-signer', 'there is no standby to switch to: prepare one, and switch to it');
  // What a compromised key could do is worse than devices that take the next update late.
  const fault = compromised ? undefined : unready(facts, standby, force);
  if (fault !== undefined) return refuse('switch', step, standby.keyLabel, fault);
  return change('switch', step, records, [
    compromised
      ? moved(current, { state: 'compromised' }, step)
      : moved(current, { role: 'message-signer-standby', state: 'current' }, step),
    moved(standby, { role: 'message-signer', state: 'current' }, step),
  ]);
}

/** A standby that leaked leaves at once; its successor, if there is one, stands by from now on. */
function replaceStandby({ records }: AuthorityFacts, step: Step): Decision {
  const standby = inState(records, 'message-signer-standby', 'current');
  const next = inState(records, 'message-signer-standby', 'next');
  if (standby === undefined) return refuse('switch', step, 'message-signer-standby', 'there is no standby');
  return change('switch', step, records, [
    moved(standby, { state: 'compromised' }, step),
    ...(next === undefined ? [] : [moved(next, { state: 'current' }, step)]),
  ]);
}

/**
 * What is next becomes current, what was current previous. `compromised`, for message signers: the one that leaves is
 * marked so; nothing that it signs is to be accepted. `force`: although connected devices do not know the next one yet.
 */
export function decideSwitch(
  facts: AuthorityFacts,
  wanted: { readonly role: SwitchedRole; readonly compromised: boolean; readonly force: boolean },
  step: Step,
): Decision {
  const { role, compromised, force } = wanted;
  if (role === 'message-signer') return switchSigners(facts, compromised, force, step);
  if (!compromised) return switchToNext(facts, role, force, step);
  if (role === 'message-signer-standby') return replaceStandby(facts, step);
  const message = `only message signers are switched as compromised: switch the ${role}, then withdraw the old one`;
  return refuse('switch', step, role, message);
}

/** What hangs below a CA, so that it has to go first. */
const BELOW: Readonly<Partial<Record<AuthorityRole, readonly [AuthorityRole, readonly AuthorityState[]][]>>> = {
  root: [
    ['operations-ca', TRUSTED_STATES],
    ['device-ca', TRUSTED_STATES],
  ],
  'operations-ca': [
    ['message-signer', ['current']],
    ['message-signer-standby', ['current', 'next']],
  ],
};

/** Label of something in use that this CA certified; undefined if there is nothing. */
function neededBy(records: readonly AuthorityRecord[], leaving: CertifiedAuthority): string | undefined {
  return (BELOW[leaving.role] ?? [])
    .flatMap(([role, states]) => authoritiesIn(records, role, states))
    .find(({ certificate }) => isIssuedBy(certificate, leaving.certificate))?.keyLabel;
}

const WITHDRAWABLE: readonly AuthorityState[] = ['previous', 'next', 'prepared'];

/**
 * It leaves the next trust bundle. `force`: although devices still have certificates of it; they renew by the grace of
 * their class, and are refused everywhere else.
 */
export function decideWithdrawal(
  { records, devicesUnder }: Pick<AuthorityFacts, 'records' | 'devicesUnder'>,
  wanted: { readonly keyLabel: string; readonly force: boolean },
  step: Step,
): Decision {
  const { keyLabel, force } = wanted;
  const leaving = records.find((record) => record.keyLabel === keyLabel);
  if (leaving === undefined)
    return refuse('withdraw', step, keyLabel, `there is no authority ${keyLabel}`, 'authority.not-found');
  if (!WITHDRAWABLE.includes(leaving.state))
    return refuse('withdraw', step, keyLabel, `${keyLabel} is ${leaving.state} and cannot be withdrawn`);
  const needing = isCertified(leaving) ? neededBy(records, leaving) : undefined;
  if (needing !== undefined)
    return refuse('withdraw', step, keyLabel, `${needing} is certified by ${keyLabel}: replace or withdraw that first`);
  const devices = leaving.role === 'device-ca' ? devicesUnder(keyLabel) : 0;
  if (devices > 0 && !force) {
    const message = `${devices} devices use certificates of ${keyLabel}: have them renewed (croupier enrolment campaign), or force it`;
    return refuse('withdraw', step, keyLabel, message);
  }
  const decision = change('withdraw', step, records, [moved(leaving, { state: 'withdrawn' }, step)]);
  return {
    ...decision,
    audit: decision.audit.map((one) => ({ ...one, details: { ...one.details, devices, force } })),
  };
}

/** The number in a key's label: 2 of `device-ca-2`. */
export function generationOf(keyLabel: string): number {
  return Number(/-(\d{1,6})$/.exec(keyLabel)?.[1] ?? 1);
}

const FAMILIES: Readonly<Record<PreparedRole | 'root', string>> = {
  'device-ca': 'device-ca',
  'operations-ca': 'operations-ca',
  'message-signer-standby': 'message-signer',
  root: 'root',
};

/** The number of the next key for a role, above every label `taken`, in the database or in the HSM. */
export function nextGeneration(role: PreparedRole | 'root', taken: readonly string[]): number {
  const family = new RegExp(`^${FAMILIES[role]}(?:-\\d{1,6})?$`);
  return 1 + Math.max(0, ...taken.filter((label) => family.test(label)).map(generationOf));
}
