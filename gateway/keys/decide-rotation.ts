/** Whether a key set may be rotated now, and to what. Pure. */
import { CroupierError } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import { KeyVersionNumber, type RolloutId } from '#schema/ids.ts';
import type { RotationOutcome } from '#gateway/ports/store/keys.ts';
import type { KeySetRecord, KeyVersionRecord, RolloutRecord } from '#gateway/ports/store/records.ts';

export interface RotationRequest {
  readonly rollout: RolloutId;
  /** Number that the prepared key was wrapped for; the wrapping binds it. */
  readonly version: KeyVersionNumber;
  readonly wrapped: Uint8Array;
  readonly kek: string;
  readonly kcv: string;
  readonly actor: AuditActor;
  readonly approval: AuditEvent['approval'];
  readonly at: Date;
}

/** The number of the next version: numbers are never used twice. */
export function nextVersion(keySet: KeySetRecord): KeyVersionNumber {
  return KeyVersionNumber.parse((keySet.versions.at(-1)?.version ?? 0) + 1);
}

/** The version in use, or why there is none to rotate from. */
export function activeVersion(keySet: KeySetRecord): KeyVersionRecord | undefined {
  return keySet.versions.find((version) => version.state === 'active');
}

function refuse(request: RotationRequest, keySet: string, error: CroupierError): RotationOutcome {
  return {
    kind: 'refuse',
    error,
    audit: [
      {
        action: 'keyset.rotate',
        outcome: 'denied',
        code: error.code,
        actor: request.actor,
        object: { type: 'keyset', id: keySet },
      },
    ],
  };
}

export function decideRotation(
  name: string,
  keySet: KeySetRecord | undefined,
  open: readonly RolloutRecord[],
  request: RotationRequest,
): RotationOutcome {
  if (keySet === undefined)
    return refuse(request, name, new CroupierError('keyset.not-found', `there is no key set ${name}`));
  const underWay = open.find((rollout) => rollout.state === 'distributing' || rollout.state === 'ready');
  if (underWay !== undefined) {
    return refuse(
      request,
      name,
      new CroupierError(
        'keyset.rotation-under-way',
        `rollout ${underWay.id} is bringing ${name} version ${underWay.toVersion} to the devices`,
        { detail: { rollout: underWay.id } },
      ),
    );
  }
  const active = activeVersion(keySet);
  if (active === undefined)
    return refuse(
      request,
      name,
      new CroupierError('keyset.state-refused', `${name} has no active version to rotate from`),
    );
  if (nextVersion(keySet) !== request.version) {
    return refuse(
      request,
      name,
      new CroupierError('keyset.rotation-under-way', `another rotation of ${name} came in between; ask again`),
    );
  }
  const { at } = request;
  return {
    kind: 'start',
    version: {
      keySet: keySet.name,
      version: request.version,
      state: 'pre-activation',
      retiredAt: undefined,
      wrapped: request.wrapped,
      kek: request.kek,
      kcv: request.kcv,
      createdAt: at,
      activatedAt: undefined,
      deactivatedAt: undefined,
      destroyedAt: undefined,
    },
    rollout: {
      id: request.rollout,
      kind: 'key-version',
      keySet: keySet.name,
      fromVersion: active.version,
      toVersion: request.version,
      state: 'distributing',
      requestedBy: request.actor.id,
      createdAt: at,
      activatedAt: undefined,
      retiredAt: undefined,
      finishedAt: undefined,
    },
    target: (device) => {
      if (device.state.kind === 'revoked' || device.state.kind === 'registered') return undefined;
      return { wave: 0, state: device.state.kind === 'quarantined' ? 'quarantined' : 'pending' };
    },
    audit: [
      {
        action: 'keyset.rotate',
        outcome: 'success',
        actor: request.actor,
        object: { type: 'keyset', id: keySet.name },
        ...(request.approval === undefined ? {} : { approval: request.approval }),
        details: { from: active.version, to: request.version, rollout: request.rollout, kcv: request.kcv },
      },
    ],
  };
}
