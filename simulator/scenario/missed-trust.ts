/**
 * Four trust bundles pass, a new root among them. Half of those who were away walk all four links when they connect; the
 * others have no network yet, and walk them from files that a technician brings (D§7).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readTrustLinks } from '#agent/agent.ts';
import type { TrustVersion } from '#schema/ids.ts';
import { NetworkTaps } from '../floor/tap.ts';
import { publishTrust } from '../operator/changes.ts';
import { Authorities } from '../stage/authorities.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 30;
const PASSED = 4;

export const missedTrust: OwnScenario = {
  name: 'missed-trust',
  away: '4 trust bundles passed, the root among them',
  back: 'walks them all, in one connection or from a USB file',
  needs: 'own',
  run: async (stage) => {
    const { floor, chronicle } = stage;
    const away = stage.choose(AWAY_PERCENT, 'away', 2);
    const carried = away.filter((_, index) => index % 2 === 1);
    const walking = stage.except(stage.except(away), carried);
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    const before = await latestTrust(stage);
    await stage.step(
      'trust bundles pass',
      async () => {
        const authorities = new Authorities(stage);
        await authorities.introduceRoot();
        await settle(stage);
        await authorities.introduce('operations-ca');
        await settle(stage);
        await publishTrust(stage.operators, 'a bundle without a change');
        await settle(stage);
        await authorities.introduce('device-ca');
        await settle(stage);
      },
      () => 'another root, Operations CA, Device CA',
      PASSED,
    );
    const latest = await latestTrust(stage);
    stage.confirm(
      'four bundles were published',
      latest - before === PASSED ? undefined : `${latest - before} were published`,
    );
    const links = new Map(away.map((id) => [id, chronicle.of(id).links]));

    await stage.step(
      'back by the network',
      async (step) => {
        await floor.switchOn(walking);
        await settle(stage, walking, step);
      },
      undefined,
      walking.length,
    );
    const stick = await stage.step('links on a stick', () => writeLinks(stage, before));
    const taps = new NetworkTaps();
    await stage.step(
      'walked from the stick',
      async () => {
        for (const id of carried) taps.of(id).cut(true);
        await floor.switchOn(carried, { equipment: taps.equipment });
        const ders = await readTrustLinks(stick);
        for (const id of carried) await floor.device(id).running.importTrust(ders);
      },
      undefined,
      carried.length,
    );
    stage.check(
      'it walked from the stick without a connection',
      carried,
      ({ connections, trust }, { trustVersion }) => {
        const walked = trust.at(-1)?.at ?? 0;
        if (connections.some(({ to }) => to > walked)) return 'it was connected';
        return trustVersion === latest ? undefined : `it holds ${trustVersion ?? 'none'}`;
      },
    );
    await stage.step('network for them, too', async (step) => {
      for (const id of carried) taps.of(id).cut(false);
      await settle(stage, carried, step);
    });
    stage.check('it walked every link', away, ({ plan, links: walked }) => {
      const count = walked - (links.get(plan.id) ?? 0);
      return count === PASSED ? undefined : `it walked ${count}`;
    });
    stage.check('one connection was enough', walking, ({ connections, trust }) => {
      const since = connections.filter(({ to }) => to > (trust.at(-1)?.at ?? 0)).length;
      return since === 1 ? undefined : `it made ${since}`;
    });
  },
};

async function latestTrust(stage: Stage): Promise<number> {
  return (await stage.client.call('trust.list', { query: {} })).latest ?? 0;
}

/** Every link after this one as a file, as the public listener gives it to anybody. Returns the directory. */
async function writeLinks(stage: Stage, after: number): Promise<string> {
  const directory = join(stage.directory, 'stick');
  await mkdir(directory);
  const { items } = await stage.client.call('trust.list', { query: { after } });
  const versions: readonly TrustVersion[] = items.map(({ version }) => version);
  for (const version of versions) {
    const answer = await fetch(`${stage.gateway.addresses.public}/trust/${version}`);
    await writeFile(join(directory, `${version}.p7m`), new Uint8Array(await answer.arrayBuffer()));
  }
  return directory;
}
