/** A device that reports a version which it was never sent: told, recorded, and no hold-up for anybody. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StateStore } from '#agent/agent.ts';
import type { AgentState, HeldVersion } from '#agent/state/state.ts';
import { KeyVersionNumber } from '#schema/ids.ts';
import { floorAgrees } from '#test/support/agreement.ts';
import { FLOOR_POLICY, startCasino, WALLET, type Casino } from '#test/support/casino.ts';
import { RolloutDesk } from '#test/support/rollout-desk.ts';

const POLICY = `${FLOOR_POLICY}
rollouts:
  plans:
    waves:
      waves:
        - { name: pit-a, selector: { labels: { pit: a } }, soak: 366d }
        - { name: others, rest: true }
`;

let casino: Casino;
let desk: RolloutDesk;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 }, policy: POLICY });
  desk = new RolloutDesk(casino);
  await casino.addDevices([{ id: 'pit-a-1', class: 'egm', labels: { pit: 'a' } }]);
  await casino.allOn();
  await casino.untilConverged();
});

afterAll(() => casino.close());

/** A device into whose storage somebody has put a key. */
const smuggled =
  (version: HeldVersion) =>
  (state: StateStore): StateStore => {
    const withIt = (loaded: AgentState): AgentState => ({
      ...loaded,
      keyrings: loaded.keyrings.map((keyring) =>
        keyring.keySet !== WALLET || keyring.versions.some((held) => held.version === version.version)
          ? keyring
          : { ...keyring, accept: [...keyring.accept, version.version], versions: [...keyring.versions, version] },
      ),
    });
    return {
      ...state,
      load: async () => {
        const loaded = await state.load();
        return loaded === undefined ? undefined : withIt(loaded);
      },
      commit: (next) => state.commit(next),
      close: () => state.close(),
    };
  };

/** What one device holds of a version, as it could be copied to another. */
function copied(id: string, number: number): HeldVersion {
  const { view } = casino.device(id).run.agent;
  const version = KeyVersionNumber.parse(number);
  const held = view
    .keyrings()
    .find(({ keySet }) => keySet === WALLET)
    ?.versions.find((one) => one.version === version);
  const key = view.keyBytes(WALLET, version);
  if (held === undefined || key === undefined || held.state === 'destroyed') throw new Error(`${id} has no ${number}`);
  return { ...held, state: 'stored', key };
}

const tellings = async (device: string) =>
  (await casino.auditRecords()).filter((one) => one.code === 'report.version-unexpected' && one.device === device);

async function isTold(device: string, version: number): Promise<void> {
  await casino.until(
    async () => (await tellings(device)).length > 0,
    () => casino.detail(device),
  );
  expect(await tellings(device)).toMatchObject([
    { outcome: 'error', details: { versions: [`wallet-kek/${version}`] } },
  ]);
  const alerts = await casino.as('grace', (api) => api.call('alert.list', { query: {} }));
  expect(alerts.items).toContainEqual(
    expect.objectContaining({ code: 'report.version-unexpected', severity: 'critical', device }),
  );
}

test('given a version of a later wave, when a device has copied it from another, then that is told, and the rollout stands where it stood', async () => {
  const id = await desk.rotate({ plan: 'waves' });
  const { toVersion } = await casino.keyRollout(id);
  await desk.until(id, ({ wave }) => wave.settledAt !== null);
  const device = casino.device('egm-1');
  await device.off();
  await device.on({}, smuggled(copied('pit-a-1', toVersion)));
  await isTold('egm-1', toVersion);
  expect(await desk.states(id)).toMatchObject({ 'egm-2': 'pending', 'pit-a-1': 'stored' });
  expect((await desk.show(id)).state).toBe('distributing');
  await desk.abort(id, 'a key was copied');
  await casino.untilConverged();
  for (const { id: name } of casino.devices.values()) expect(casino.device(name).holds(), name).toEqual(['1 active']);
  await floorAgrees(casino);
});

test('given a version that nobody made, when a device claims to hold it, then that is told once, nothing is kept of it, and rotations go on', async () => {
  const invented: HeldVersion = { ...copied('egm-1', 1), version: KeyVersionNumber.parse(40) };
  const device = casino.device('egm-2');
  await device.off();
  await device.on({}, smuggled(invented));
  await isTold('egm-2', 40);
  await device.run.agent.report();
  await device.run.agent.report();
  expect((await casino.detail('egm-2')).versions.map(({ version }) => version)).not.toContain(40);
  expect(await tellings('egm-2')).toHaveLength(1);
  const id = await desk.rotate();
  await casino.untilRollout(id, 'active');
  await casino.untilConverged();
  const { toVersion } = await casino.keyRollout(id);
  expect(toVersion, 'its number is not that of the next one').toBe(3);
  for (const { id: name } of casino.devices.values())
    expect(casino.device(name).holds(), name).toContain(`${toVersion} active`);
});
