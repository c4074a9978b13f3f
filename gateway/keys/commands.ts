/** Commands on key sets: rotate, retire the old version, destroy it. */
import type { KeyStore } from '#pki/keystore/port.ts';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId, type Realm } from '#schema/ids.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Random } from '#schema/runtime/random.ts';
import type { Authority, Command } from '#gateway/operators/command.ts';
import type { RolloutOutcome, RolloutProgress } from '#gateway/ports/store/keys.ts';
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { decideDestroy, decideRetire } from '#gateway/rollout/decide.ts';
import { activeVersion, decideRotation, nextVersion } from './decide-rotation.ts';
import { prepareWorkingKey } from './working-key.ts';

export interface KeyCommandPorts {
  readonly realm: Realm;
  readonly store: Store;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
  readonly random: Random;
  /** Devices are due and a rollout may move on. */
  readonly onChange: () => void;
}

export function rotateCommand(ports: KeyCommandPorts): Command<'keyset.rotate'> {
  const { store, clock, random, realm } = ports;
  return {
    summary: ({ keySet, reason }) => `rotate ${keySet}${reason === undefined ? '' : `: ${reason}`}`,
    check: async ({ keySet: name }) => {
      const keySet = await store.keySet(name);
      if (keySet === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${name}`);
      if (activeVersion(keySet) === undefined)
        throw new CroupierError('keyset.state-refused', `${name} has no active version to rotate from`);
    },
    execute: async ({ keySet: name }, authority) => {
      const keySet = await store.keySet(name);
      if (keySet === undefined) throw new CroupierError('keyset.not-found', `there is no key set ${name}`);
      const version = nextVersion(keySet);
      const prepared = await prepareWorkingKey(ports.keyStore, realm, keySet, version);
      const at = clock.now();
      const rollout = RolloutId.parse(random.uuid());
      const outcome = await store.startRotation(name, at, (current, open) =>
        decideRotation(name, current, open, {
          rollout,
          version,
          ...prepared,
          actor: authority.actor,
          approval: authority.approval,
          at,
        }),
      );
      if (outcome.kind === 'refuse') throw outcome.error;
      ports.onChange();
      return { rollout, keySet: name, from: outcome.rollout.fromVersion, to: version };
    },
  };
}

type Decision = (rollout: RolloutRecord, progress: RolloutProgress) => RolloutOutcome;

async function moveRollout(
  ports: KeyCommandPorts,
  id: RolloutId,
  decide: Decision,
): Promise<{ rollout: string; state: string }> {
  const outcome = await ports.store.advanceRollout(id, ports.clock.now(), (rollout, keySet, progress) => {
    if (rollout === undefined || keySet === undefined) {
      return { kind: 'refuse', error: new CroupierError('rollout.not-found', `there is no rollout ${id}`), audit: [] };
    }
    return decide(rollout, progress);
  });
  if (outcome.kind === 'refuse') throw outcome.error;
  ports.onChange();
  return { rollout: id, state: outcome.kind === 'advance' ? outcome.state : 'unchanged' };
}

export function retireCommand(ports: KeyCommandPorts): Command<'keyset.retire'> {
  return {
    summary: ({ rollout }) => `retire the old version of rollout ${rollout}`,
    execute: ({ rollout }, authority: Authority) =>
      moveRollout(ports, rollout, (current, progress) => decideRetire(current, progress, authority.actor)),
  };
}

export function destroyCommand(ports: KeyCommandPorts): Command<'keyset.destroy'> {
  const { store } = ports;
  return {
    summary: ({ rollout }) => `destroy the retired version of rollout ${rollout}, in the gateway and on the devices`,
    check: async ({ rollout: id }) => {
      const detail = await store.rollout(id);
      if (detail === undefined) throw new CroupierError('rollout.not-found', `there is no rollout ${id}`);
      const outcome = decideDestroy(detail.rollout, detail.progress, { type: 'gateway', id: 'check' });
      if (outcome.kind === 'refuse') throw outcome.error;
    },
    execute: ({ rollout }, authority: Authority) =>
      moveRollout(ports, rollout, (current, progress) => decideDestroy(current, progress, authority.actor)),
  };
}
