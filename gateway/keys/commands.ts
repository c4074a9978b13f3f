/** Commands on key sets: rotate, retire the old versions, destroy them, declare one compromised. */
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId, type KeySetName, type KeyVersionNumber, type Realm } from '#schema/ids.ts';
import type { Json } from '#schema/runtime/canonical-json.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Authority, Command } from '#gateway/operators/command.ts';
import type { KeySetRecord } from '#gateway/ports/store/records.ts';
import { moveRollout, type RolloutCommandPorts } from '#gateway/rollout/commands.ts';
import { decideDestroy, decideRetire } from '#gateway/rollout/decide-operator.ts';
import { expedited, planHash, resolvePlan, type PlannedChange } from '#gateway/rollout/plan.ts';
import { checkedPlan, planned, type AskedTerms, type Planned } from '#gateway/rollout/planning.ts';
import { activeVersion, decideRotation, nextVersion, type RotationRequest } from './decide-rotation.ts';
import { prepareWorkingKey } from './working-key.ts';

export interface KeyCommandPorts extends RolloutCommandPorts {
  readonly realm: Realm;
  readonly keyStore: KeyStore;
  readonly random: Random;
}

async function requireKeySet(ports: Pick<KeyCommandPorts, 'store'>, name: KeySetName): Promise<KeySetRecord> {
  const keySet = await ports.store.keySet(name);
  if (keySet === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${name}`);
  return keySet;
}

/** What a rotation of the key set would roll out. Errors: `keyset.not-found`, `keyset.state-refused`. */
export async function nextRotation(
  ports: Pick<KeyCommandPorts, 'store'>,
  name: KeySetName,
): Promise<Extract<PlannedChange, { kind: 'key-version' }>> {
  const keySet = await requireKeySet(ports, name);
  const active = activeVersion(keySet);
  if (active === undefined)
    throw new CroupierError('keyset.state-refused', `${name} has no active version to rotate from`);
  return { kind: 'key-version', keySet: name, fromVersion: active.version, toVersion: nextVersion(keySet) };
}

type Extra = Pick<RotationRequest, 'supersede' | 'reason'> & Partial<Pick<RotationRequest, 'compromised'>>;

/** Draws the next version's key and records its rollout. Errors: those of the HSM, of `decideRotation`. */
export async function startRotation(
  ports: KeyCommandPorts,
  name: KeySetName,
  terms: Planned,
  authority: Authority,
  extra: Extra,
): Promise<Json> {
  const { store, clock, random } = ports;
  const keySet = await requireKeySet(ports, name);
  const version = nextVersion(keySet);
  const prepared = await prepareWorkingKey(ports.keyStore, ports.realm, keySet, version);
  const at = clock.now();
  const rollout = RolloutId.parse(random.uuid());
  const request = { rollout, version, ...prepared, ...terms, ...extra, ...authority, at };
  const outcome = await store.startRollout(name, at, (context) => decideRotation(name, context, request));
  if (outcome.kind === 'refuse') throw outcome.error;
  ports.onChange();
  return { rollout, keySet: name, from: activeVersion(keySet)?.version ?? null, to: version, plan: terms.plan.name };
}

export function rotateCommand(ports: KeyCommandPorts): Command<'keyset.rotate'> {
  return {
    complete: async (request) => {
      const { plan, planSha256 } = planned(ports, await nextRotation(ports, request.keySet), request);
      return { ...request, plan: plan.name, planSha256 };
    },
    summary: ({ keySet, reason, plan, startAt }) =>
      [
        `rotate ${keySet}`,
        plan === undefined ? '' : ` by plan ${plan}`,
        startAt === undefined ? '' : ` from ${startAt}`,
        reason === undefined ? '' : `: ${reason}`,
      ].join(''),
    check: async (request) => {
      await checkedPlan(ports, await nextRotation(ports, request.keySet), request);
      if (request.supersede !== true) await refuseRival(ports, request.keySet);
    },
    execute: async (request, authority) => {
      const change = await nextRotation(ports, request.keySet);
      const terms = await checkedPlan(ports, change, request);
      const { supersede = false, reason } = request;
      return startRotation(ports, request.keySet, terms, authority, { supersede, reason });
    },
  };
}

/** Nobody should be asked to approve what would be refused then. */
async function refuseRival({ store }: KeyCommandPorts, name: KeySetName): Promise<void> {
  const open = await store.rollouts(true, 1_000);
  const rival = open.find(
    (rollout) =>
      rollout.kind === 'key-version' &&
      rollout.keySet === name &&
      ['approved', 'distributing', 'ready'].includes(rollout.state),
  );
  if (rival === undefined) return;
  throw new CroupierError(
    'keyset.rotation-under-way',
    `rollout ${rival.id} is bringing the next version of ${name} to the devices; let it end, abort it, or supersede it`,
    { detail: { rollout: rival.id } },
  );
}

/** The plan of a rotation that nobody asked for by a plan: at once, everywhere. */
function expeditedTerms(ports: KeyCommandPorts, change: PlannedChange, asked: AskedTerms): Planned {
  const policy = ports.policy();
  const plan = expedited(resolvePlan(policy, asked.plan));
  return { plan, planSha256: planHash(change, plan, policy.rollouts.windows), startAt: ports.clock.now() };
}

const knows = (keySet: KeySetRecord, version: KeyVersionNumber): boolean =>
  keySet.versions.some((entry) => entry.version === version && entry.state !== 'destroyed');

/** One person declares it: the successor is on its way to every device at once (D§1.7). */
export function compromiseCommand(ports: KeyCommandPorts): Command<'keyset.compromise'> {
  const check = async (name: KeySetName, version: KeyVersionNumber): Promise<void> => {
    if (knows(await requireKeySet(ports, name), version)) return;
    throw new CroupierError('keyset.version-not-found', `${name} has no version ${version} that is not destroyed`);
  };
  return {
    summary: ({ keySet, version, reason }) => `${keySet} version ${version} is compromised: ${reason}`,
    check: ({ keySet, version }) => check(keySet, version),
    execute: async ({ keySet, version, reason }, authority) => {
      await check(keySet, version);
      const terms = expeditedTerms(ports, await nextRotation(ports, keySet), {});
      return startRotation(ports, keySet, terms, authority, { supersede: true, compromised: { version, reason } });
    },
  };
}

export function retireCommand(ports: RolloutCommandPorts): Command<'keyset.retire'> {
  return {
    summary: ({ rollout }) => `retire the old version of rollout ${rollout}`,
    execute: ({ rollout }, authority: Authority) => moveRollout(ports, rollout, authority, decideRetire),
  };
}

export function destroyCommand(ports: RolloutCommandPorts): Command<'keyset.destroy'> {
  const { store, clock } = ports;
  return {
    summary: ({ rollout }) => `destroy the retired version of rollout ${rollout}, in the gateway and on the devices`,
    check: async ({ rollout: id }) => {
      const detail = await store.rollout(id);
      if (detail === undefined) throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
      const { rollout, tallies } = detail;
      const keySet = rollout.kind === 'key-version' ? await store.keySet(rollout.keySet) : undefined;
      const word = { actor: { type: 'gateway' as const, id: 'check' }, approval: undefined, now: clock.now() };
      const outcome = decideDestroy(rollout, keySet, tallies, word);
      if (outcome.kind === 'refuse') throw outcome.error;
    },
    execute: ({ rollout }, authority: Authority) => moveRollout(ports, rollout, authority, decideDestroy),
  };
}
