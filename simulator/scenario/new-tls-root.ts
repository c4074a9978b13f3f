/**
 * The gateway's TLS chain moves to a new root. A device that was away cannot believe the server any more; it fetches the
 * trust links from the public listener, which needs no trust since links prove themselves, and then connects (D§7).
 */
import { systemClock } from '#schema/runtime/clock.ts';
import { Authorities } from '../stage/authorities.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 30;

export const newTlsRoot: OwnScenario = {
  name: 'new-tls-root',
  away: 'the gateway’s TLS chain moved to a new root',
  back: 'learns the trust links over the public listener, then connects',
  needs: 'own',
  run: async (stage) => {
    const { floor } = stage;
    const away = stage.choose(AWAY_PERCENT, 'away');
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    await stage.step('a new root, and a chain below it', async () => {
      const authorities = new Authorities(stage);
      await authorities.introduceRoot();
      await authorities.introduce('operations-ca');
      await authorities.switchTo({ role: 'operations-ca' });
      await authorities.switchTo({ role: 'root' });
      await settle(stage);
    });
    await stage.step('a rotation', () => rotate(stage, 'under the new root'));
    const returned = systemClock.now().getTime();
    await stage.step(
      'back',
      async (step) => {
        await floor.switchOn(away);
        await settle(stage, away, step);
      },
      undefined,
      away.length,
    );
    stage.check('it did not believe the server at first', away, ({ errors }) => {
      const first = errors.find(({ at }) => at >= returned);
      return first?.code === 'certificate.untrusted' ? undefined : `its first error is ${first?.code ?? 'none'}`;
    });
    stage.check('it learned the links before it connected', away, ({ connections, trust }) => {
      const connected = connections.find(({ from }) => from >= returned)?.from ?? 0;
      const learned = trust.find(({ at }) => at >= returned)?.at ?? Number.POSITIVE_INFINITY;
      return learned < connected ? undefined : 'it connected before';
    });
  },
};
