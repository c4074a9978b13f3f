/**
 * The disk of a device is restored from an old image. It reports less than it proved before, so it is shut out, somebody is
 * told, and it gets nothing more until two people have brought it back (I5, I9).
 */
import type { DeviceId } from '#schema/ids.ts';
import type { StorageImage } from '../floor/device.ts';
import { bringBack, untilAlerted, untilQuarantined } from '../stage/containment.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { RunningScenario } from './scenario.ts';

const RESTORED_PERCENT = 4;
const CODES = ['report.regressed'];

export const diskRestored: RunningScenario = {
  name: 'disk-restored',
  away: 'its disk was restored from an old image',
  back: 'quarantined, alert, re-baseline by two people brings it back',
  needs: 'running',
  floor: { state: 'disk' },
  run: async (stage) => {
    const { floor, chronicle, keySet } = stage;
    const chosen = stage.choose(RESTORED_PERCENT, 'restored');
    const images = await stage.step(
      'images taken',
      async () => {
        await sendAway(stage, chosen, 'orderly');
        const taken = new Map<DeviceId, StorageImage>();
        for (const id of chosen) taken.set(id, await floor.device(id).image());
        await floor.switchOn(chosen);
        await settle(stage);
        return taken;
      },
      undefined,
      chosen.length,
    );
    await stage.step('a rotation', () => rotate(stage, 'after the images were taken'));
    await stage.step(
      'restored from the images',
      async () => {
        await sendAway(stage, chosen, 'orderly');
        for (const [id, image] of images) await stage.restoreStorage(id, image);
        await floor.switchOn(chosen);
        await untilQuarantined(stage, chosen, CODES);
      },
      () => 'quarantined',
      chosen.length,
    );
    const alerts = await stage.step('alerts', () => untilAlerted(stage, chosen, CODES), undefined, chosen.length);
    const applied = new Map(chosen.map((id) => [id, chronicle.of(id).applied.length]));
    const { to } = await stage.step('a rotation without them', () => rotate(stage, 'while they are shut out'));

    stage.check('the alert names it', chosen, ({ plan }) =>
      alerts.get(plan.id)?.includes(plan.id) === true ? undefined : 'no alert names it',
    );
    stage.check('it gets nothing while it is shut out', chosen, ({ plan, applied: updates, accepted }) => {
      if (updates.length > (applied.get(plan.id) ?? 0)) return 'it took an update';
      const holds = accepted.some((span) => span.keySet === keySet && span.version === to);
      return holds ? `it holds ${keySet} ${to}` : undefined;
    });
    await stage.step(
      'brought back by two people',
      () => bringBack(stage, chosen, 'the disk was restored by maintenance'),
      undefined,
      chosen.length,
    );
  },
};
