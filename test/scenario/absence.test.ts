/** A device that was away gets what it needs now, in one go; nothing that it slept through is replayed (D§9). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startCasino, type Casino, type CasinoDevice, WALLET } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

let casino: Casino;
let away: CasinoDevice;

beforeEach(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 } });
  await casino.allOn();
  await casino.untilConverged();
  away = casino.device('egm-2');
});

afterEach(() => casino.close());

const activations = (device: CasinoDevice): string[] =>
  device.run.all('activated').map(({ keySet, version }) => `${keySet} ${version}`);

describe('given a device that is away', () => {
  test('when two rotations pass and the version that it held in reserve is destroyed, then its return takes one update with one keyring', async () => {
    await casino.rotateUntil('active');
    await casino.untilConverged();
    const [first] = await casino.store.rollouts(true, 1);
    if (first === undefined) throw new Error('there is no rollout');
    expect(away.holds()).toEqual(['1 stored', '2 active']);
    await away.off();

    await casino.retire(first.id);
    await casino.untilRollout(first.id, 'retired');
    await casino.destroy(first.id);
    await casino.rotateUntil('active');
    await casino.untilConverged();
    expect((await casino.store.keySet(WALLET))?.versions.map(({ state }) => state)).toEqual([
      'destroyed',
      'deactivated',
      'active',
    ]);
    expect((await casino.store.rollout(first.id))?.rollout.state, 'the receipt of the one away is missing').toBe(
      'destroying',
    );

    await away.on();
    await casino.untilConverged('egm-2');
    expect(away.holds()).toEqual(['2 stored', '3 active']);
    expect(away.run.all('update-applied')).toHaveLength(1);
    expect(activations(away)).toEqual(['wallet-kek 3']);
    await casino.untilRollout(first.id, 'destroyed');
  });

  test('when it still uses the old version, then that is neither retired nor destroyed before it returns (I11)', async () => {
    expect(away.holds()).toEqual(['1 active']);
    await away.off();
    const first = await casino.rotateUntil('active');
    await casino.rotateUntil('active');
    await casino.retire(first);
    await expectRefusal('rollout.state-refused', () => casino.destroy(first));
    expect((await casino.store.rollout(first))?.rollout.state).toBe('retiring');

    await away.on();
    await casino.untilRollout(first, 'retired');
    await casino.untilConverged();
    expect(activations(away), 'the version between was never in use').toEqual(['wallet-kek 3']);
    expect(away.holds()).toEqual(['1 retired', '2 stored', '3 active']);
    await casino.destroy(first);
    await casino.untilRollout(first, 'destroyed');
    expect(away.holds()).toEqual(['2 stored', '3 active']);
  });

  test('when trust bundles are published twice and a key is rotated, then it walks the links in order and takes one update', async () => {
    const before = away.trustVersion;
    await away.off();
    await casino.publishTrust();
    await casino.publishTrust();
    await casino.rotateUntil('active');
    await away.on();
    await casino.untilConverged('egm-2');
    expect(away.trustVersion).toBe(before + 2);
    const walked = away.run.all('trust-advanced').flatMap(({ from, to }) => [from, to]);
    expect(walked[0]).toBe(before);
    expect([...walked].sort((a, b) => a - b)).toEqual(walked);
    expect(away.run.all('update-applied')).toHaveLength(1);
    expect(away.run.all('update-refused')).toEqual([]);
    expect(away.holds()).toEqual(['1 stored', '2 active']);
  });
});
