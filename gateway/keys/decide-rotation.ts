/** Whether a key set may be rotated now, and to what. Pure. */
import type { AuditEvent } from '#schema/audit.ts';
import { CroupierError } from '#schema/errors.ts';
import { KeyVersionNumber, type KeySetName } from '#schema/ids.ts';
import type { KeyVersionChange, RolloutContext, StartOutcome } from '#gateway/ports/store/rollouts.ts';
import type { KeySetRecord, KeyVersionRecord, KeyVersionRollout, RolloutRecord } from '#gateway/ports/store/records.ts';
import { ended, isOnItsWay, newRollout, refuseStart, startDetails, type StartTerms } from '#gateway/rollout/begin.ts';
import { rolloutEvent } from '#gateway/rollout/decide.ts';

export interface RotationRequest extends StartTerms {
  /** Number that the prepared key was wrapped for; the wrapping binds it. */
  readonly version: KeyVersionNumber;
  readonly wrapped: Uint8Array;
  readonly kek: string;
  readonly kcv: string;
  /** Ends a rotation that is still on its way; without it, such a one is a reason to refuse. */
  readonly supersede: boolean;
  /** The version that is compromised, and why: this rotation makes its successor. */
  readonly compromised?: { readonly version: KeyVersionNumber; readonly reason: string };
}

/** The number of the next version: numbers are never used twice. Errors: `keyset.state-refused` after the last one. */
export function nextVersion(keySet: KeySetRecord): KeyVersionNumber {
  const number = KeyVersionNumber.safeParse((keySet.versions.at(-1)?.version ?? 0) + 1);
  if (number.success) return number.data;
  throw new CroupierError('keyset.state-refused', `${keySet.name} has used up its numbers; make a new key set`);
}

/** The version in use, or why there is none to rotate from. */
export function activeVersion(keySet: KeySetRecord): KeyVersionRecord | undefined {
  return keySet.versions.find((version) => version.state === 'active');
}

const isOf =
  (name: KeySetName) =>
  (rollout: RolloutRecord): rollout is KeyVersionRollout =>
    rollout.kind === 'key-version' && rollout.keySet === name;

/** Versions that never came into use, of rollouts that end here: erased, since nothing depends on them. */
function abandon(rollouts: readonly KeyVersionRollout[], keySet: KeySetRecord): readonly KeyVersionChange[] {
  return rollouts.flatMap(({ toVersion }) =>
    keySet.versions.some(({ version, state }) => version === toVersion && state === 'pre-activation')
      ? [{ version: toVersion, state: 'destroyed' as const, retired: true, erase: true }]
      : [],
  );
}

/**
 * What becomes of a compromised version at once. One that was not in use yet is erased. One in use stays so until its
 * successor is active, or the floor would stand still; its record says that it is compromised, and then it is retired.
 */
function compromise(keySet: KeySetRecord, version: KeyVersionNumber): readonly KeyVersionChange[] {
  const record = keySet.versions.find((entry) => entry.version === version);
  if (record === undefined || record.state === 'destroyed') return [];
  if (record.state === 'active') return [{ version, state: 'active', retired: false, erase: false, compromised: true }];
  const isUnused = record.state === 'pre-activation';
  const retired = isUnused || record.retiredAt !== undefined;
  return [{ version, state: 'compromised', retired, erase: isUnused, compromised: true }];
}

function others(
  request: RotationRequest,
  underWay: readonly KeyVersionRollout[],
  mine: readonly KeyVersionRollout[],
): readonly RolloutRecord[] {
  const { compromised, at } = request;
  const closed = new Map<string, RolloutRecord>(underWay.map((one) => [one.id, ended(one, 'superseded', at)]));
  for (const one of mine) if (one.toVersion === compromised?.version) closed.set(one.id, ended(one, 'compromised', at));
  return [...closed.values()];
}

export function decideRotation(
  name: KeySetName,
  { keySet, open }: RolloutContext,
  request: RotationRequest,
): StartOutcome {
  const action = request.compromised === undefined ? 'keyset.rotate' : 'keyset.compromise';
  const object = { type: 'keyset', id: name };
  if (keySet === undefined)
    return refuseStart(action, object, request, 'keyset.not-found', `there is no key set ${name}`);
  const mine = open.filter(isOf(name));
  const underWay = mine.filter(isOnItsWay);
  const [first] = underWay;
  if (first !== undefined && !request.supersede) {
    return refuseStart(
      action,
      object,
      request,
      'keyset.rotation-under-way',
      `rollout ${first.id} is bringing ${name} version ${first.toVersion} to the devices; let it end, abort it, or supersede it`,
      { rollout: first.id },
    );
  }
  const active = activeVersion(keySet);
  if (active === undefined)
    return refuseStart(action, object, request, 'keyset.state-refused', `${name} has no active version to rotate from`);
  if (nextVersion(keySet) !== request.version) {
    const message = `another rotation of ${name} came in between; ask again`;
    return refuseStart(action, object, request, 'keyset.rotation-under-way', message);
  }
  const { at, compromised } = request;
  const rollout = newRollout(
    { kind: 'key-version', keySet: name, fromVersion: active.version, toVersion: request.version },
    request,
  );
  const closed = others(request, underWay, mine);
  const changes = new Map(abandon(underWay, keySet).map((change) => [change.version, change]));
  if (compromised !== undefined)
    for (const change of compromise(keySet, compromised.version)) changes.set(change.version, change);
  const approval: Partial<AuditEvent> = request.approval === undefined ? {} : { approval: request.approval };
  return {
    kind: 'start',
    version: {
      keySet: name,
      version: request.version,
      state: 'pre-activation',
      retiredAt: undefined,
      wrapped: request.wrapped,
      kek: request.kek,
      kcv: request.kcv,
      createdAt: at,
      activatedAt: undefined,
      deactivatedAt: undefined,
      compromisedAt: undefined,
      destroyedAt: undefined,
    },
    rollout,
    bundle: undefined,
    versions: [...changes.values()],
    others: closed,
    audit: [
      {
        action,
        outcome: 'success',
        actor: request.actor,
        object,
        ...(compromised === undefined ? {} : { code: 'keyset.compromised' }),
        ...approval,
        details: {
          from: active.version,
          to: request.version,
          kcv: request.kcv,
          ...startDetails(request),
          ...(compromised === undefined ? {} : { compromised: compromised.version, reason: compromised.reason }),
        },
      },
      ...closed.map((one) => rolloutEvent(one, `rollout.${one.state}`, request.actor, { by: request.rollout })),
    ],
  };
}
