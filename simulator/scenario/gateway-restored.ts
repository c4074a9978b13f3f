/**
 * The gateway's database is restored from a backup that is older than what the devices hold. Sequence numbers, versions and
 * bundles go on above everything that was ever given out; what was forgotten is learned from the devices' own reports, and
 * a key whose bytes were lost is replaced (I5).
 */
import { join } from 'node:path';
import { z } from 'zod';
import type { DeviceId } from '#schema/ids.ts';
import { beginRotation, publishTrust } from '../operator/changes.ts';
import { runCroupier } from '../process/croupier.ts';
import { destroy, retire, rotate, untilRollout } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { OwnStage } from '../stage/stage.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 20;
const Restored = z.object({ restored: z.literal(true) });

export const gatewayRestored: OwnScenario = {
  name: 'gateway-restored',
  away: 'the gateway was restored from last week’s backup',
  back: 'sequence and counters go on upwards; desired and reported meet again, nothing is issued twice',
  needs: 'own',
  run: async (stage) => {
    const { keySet, floor, chronicle } = stage;
    const away = stage.choose(AWAY_PERCENT, 'away');
    await stage.step('a rotation', () => rotate(stage, 'before the backup'));
    // The gateway waits for those that it takes to be there, when it starts: these it knows to be away.
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    const backup = join(stage.directory, 'backup.db');
    await stage.step('backup', () => croupier(stage, z.object({ file: z.string() }), 'backup', backup));
    const lost = await stage.step(
      'what the backup does not know',
      async () => {
        const { to } = await rotate(stage, 'after the backup');
        await publishTrust(stage.operators, 'after the backup');
        await settle(stage);
        return to;
      },
      (version) => `${keySet} ${version}, a trust bundle`,
    );
    const trust = await latestTrust(stage);
    const present = stage.except(away);
    const before = new Map(stage.devices.map((id) => [id, lastSeq(stage, id)]));

    await stage.step('restored', async () => {
      await stage.gateway.stop();
      await croupier(stage, Restored, 'restore', backup, '--yes');
      await stage.gateway.start();
    });
    await stage.step('devices tell what they hold', () => untilLost(stage), undefined, present.length);
    const rotation = await stage.step(
      'what was lost is replaced',
      async () => {
        const begun = await beginRotation(stage.operators, keySet, `the bytes of ${lost} are lost`);
        await untilRollout(stage, begun.rollout, 'active');
        return begun;
      },
      ({ to }) => `${keySet} ${to}`,
    );
    await stage.step('in step', (step) => settle(stage, present, step), undefined, present.length);
    const republished = await stage.step('another trust bundle', async () => {
      const version = await publishTrust(stage.operators, 'after the restoration');
      await settle(stage, present);
      return version;
    });
    await stage.step(
      'the others back',
      async (step) => {
        await floor.switchOn(away);
        await settle(stage, away, step);
      },
      undefined,
      away.length,
    );
    await stage.step('what was before is retired and destroyed', async () => {
      await retire(stage, rotation);
      await destroy(stage, rotation);
      await untilRollout(stage, rotation.rollout, 'destroyed');
    });
    stage.confirm(
      'no version number was given out twice',
      rotation.to > lost ? undefined : `${keySet} ${rotation.to} was given out again, ${lost} was before`,
    );
    stage.confirm(
      'no trust bundle was published twice',
      republished > trust ? undefined : `bundle ${republished} was published again, ${trust} was before`,
    );
    stage.check('it took a later update after the restoration', stage.devices, ({ plan }) => {
      const [was, is] = [before.get(plan.id) ?? 0, lastSeq(stage, plan.id)];
      return is > was ? undefined : `its latest is ${is}, ${was} before`;
    });
    stage.check('it refused nothing', stage.devices, ({ refused }) =>
      refused.length === 0 ? undefined : `refused ${refused.map(({ code }) => code).join(', ')}`,
    );
    stage.check('it never used the version between again', away, ({ used }) =>
      used.some((span) => span.keySet === keySet && span.version === lost) ? `it used ${lost}` : undefined,
    );
    stage.check('nobody was quarantined for what the gateway forgot', stage.devices, ({ plan }) => {
      const { connections } = chronicle.of(plan.id);
      return connections.at(-1)?.to === Number.POSITIVE_INFINITY ? undefined : 'it is not connected';
    });
  },
};

const lastSeq = (stage: OwnStage, id: DeviceId): number => stage.chronicle.of(id).applied.at(-1)?.seq ?? 0;

async function latestTrust(stage: OwnStage): Promise<number> {
  return (await stage.client.call('trust.list', { query: {} })).latest ?? 0;
}

/** On the data directory of the stage's gateway. */
function croupier<Schema extends z.ZodType>(
  stage: OwnStage,
  schema: Schema,
  ...args: readonly string[]
): Promise<z.infer<Schema>> {
  return runCroupier(['--data', stage.gateway.directory, ...args], schema);
}

/** Waits for the alert that a key was lost with the database. */
async function untilLost(stage: OwnStage): Promise<void> {
  await stage.until('an alert tells that a key is lost', async () => {
    const { items } = await stage.client.call('alert.list', { query: { open: 'true' } });
    return items.find(({ code, keySet }) => code === 'keyset.version-lost' && keySet === stage.keySet);
  });
}
