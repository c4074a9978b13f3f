/**
 * Five versions of a key set pass while devices are off. What they use is not retired under them (I11) until two people
 * have signed them off; then it is destroyed together with all that came and went while they were away.
 */
import { sendAway, settle } from '../stage/settle.ts';
import { destroy, retire, rotate, signOffStragglers, untilRollout } from '../stage/rotations.ts';
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

    const [third, passed] = await stage.step(
      'five versions pass',
      async (step) => {
        const versions = [];
        for (const number of [1, 2, 3]) {
          versions.push(await rotate(stage, `number ${number} while devices are away`));
          step.progress(number);
        }
        const retired = versions.at(-1) ?? reserve;
        await signOffStragglers(stage, retired, away);
        await retire(stage, retired);
        await destroy(stage, retired);
        for (const number of [4, 5]) {
          versions.push(await rotate(stage, `number ${number} while devices are away`));
          step.progress(number);
        }
        return [retired, versions.map(({ to }) => to)] as const;
      },
      ([retired, versions]) => `${keySet} ${versions.join(', ')}; all before ${retired.to} destroyed`,
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
    await stage.step('receipts complete', () => untilRollout(stage, third.rollout, 'destroyed'));

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
      const gone = passed.slice(0, 2);
      const held = accepted.filter((span) => span.keySet === keySet && gone.includes(span.version));
      return held.length === 0 ? undefined : `held ${held.map(({ version }) => version).join(', ')}`;
    });
  },
};
