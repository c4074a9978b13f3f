/**
 * Five versions of a key set pass while devices are off. What they still use cannot be retired under them (I11); what they
 * hold in reserve can be destroyed, and so can all that came and went while they were away.
 */
import { sendAway, settle } from '../stage/settle.ts';
import { destroy, retire, rotate, untilRollout } from '../stage/rotations.ts';
import type { RunningScenario } from './scenario.ts';

const AWAY_PERCENT = 30;

export const missedVersions: RunningScenario = {
  name: 'missed-versions',
  away: '5 versions of its key set passed, some destroyed',
  back: 'one keyring, one update',
  needs: 'running',
  run: async (stage) => {
    const { keySet, floor } = stage;
    const reserve = await stage.step(
      'a version in reserve',
      () => rotate(stage, 'the version before stays in reserve'),
      ({ from, to }) => `${keySet} ${from} to ${to}`,
    );
    const away = stage.choose(AWAY_PERCENT, 'away');
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);

    await stage.step(
      'reserve destroyed',
      async () => {
        await retire(stage, reserve);
        await destroy(stage, reserve);
      },
      () => `${keySet} ${reserve.from}, which those who are away hold`,
    );
    const passed = await stage.step(
      'five versions pass',
      async (step) => {
        const first = await rotate(stage, 'first while devices are away');
        const second = await rotate(stage, 'second while devices are away');
        await retire(stage, second);
        await destroy(stage, second);
        step.progress(2);
        const third = await rotate(stage, 'third while devices are away');
        await retire(stage, third);
        await destroy(stage, third);
        step.progress(3);
        const fourth = await rotate(stage, 'fourth while devices are away');
        await retire(stage, fourth);
        const fifth = await rotate(stage, 'fifth while devices are away');
        step.progress(5);
        return [first, second, third, fourth, fifth].map(({ to }) => to);
      },
      (versions) => `${keySet} ${versions.join(', ')}`,
      5,
    );
    const [latest] = passed.slice(-1);
    const before = new Map(away.map((id) => [id, stage.chronicle.of(id).applied.length]));
    const uses = new Map(away.map((id) => [id, stage.chronicle.of(id).used.length]));

    await stage.step(
      'back',
      async (step) => {
        await floor.switchOn(away);
        await settle(stage, away, step);
      },
      undefined,
      away.length,
    );
    await stage.step('receipts complete', () => untilRollout(stage, reserve.rollout, 'destroyed'));

    stage.check('one update brought it back', away, ({ plan, applied }) => {
      const updates = applied.length - (before.get(plan.id) ?? 0);
      return updates === 1 ? undefined : `took ${updates} updates`;
    });
    stage.check('it went straight to the latest version', away, ({ plan, used }) => {
      const since = used.slice(uses.get(plan.id) ?? 0).filter((span) => span.keySet === keySet);
      const versions = since.map(({ version }) => version);
      return versions.length === 1 && versions[0] === latest
        ? undefined
        : `used ${versions.join(', ') || 'nothing new'}`;
    });
    stage.check('it was never sent a version that came and went', away, ({ accepted }) => {
      const gone = passed.slice(1, 3);
      const held = accepted.filter((span) => span.keySet === keySet && gone.includes(span.version));
      return held.length === 0 ? undefined : `held ${held.map(({ version }) => version).join(', ')}`;
    });
  },
};
