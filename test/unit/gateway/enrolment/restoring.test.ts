/** What brings a contained device back: release, or a re-baseline where its history broke. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  quarantineCommand,
  reBaselineCommand,
  releaseCommand,
  type DeviceCommandPorts,
} from '#gateway/enrolment/commands.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { DeviceState } from '#gateway/ports/store/records.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { Policy } from '#schema/policy.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { systemRandom } from '#schema/runtime/random.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import {
  accepted,
  deviceId,
  enrol,
  importDevices,
  proof,
  REALM,
  recordReport,
  second,
} from '#test/support/store-fixtures.ts';

const EGM = deviceId('egm-1');
const BY = { actor: { type: 'operator', id: 'grace' }, approval: undefined } as const;
const request = { device: EGM, reason: 'looked at' };

let store: Store;
let ports: DeviceCommandPorts;

beforeEach(async () => {
  store = await openSqliteStore({ path: ':memory:', realm: REALM, busyTimeoutMs: 100 });
  const nothing = (): void => undefined;
  ports = {
    store,
    clock: systemClock,
    random: systemRandom,
    policy: () => Policy.parse({ version: 1, classes: {} }),
    onContained: nothing,
    onRestored: nothing,
  };
  await importDevices(store, 'egm-1');
  await recordReport(store, await enrol(store, 'egm-1'), 7, accepted({ proofs: [proof(1, 'active')] }));
});

afterEach(() => store.close());

async function contain(state: DeviceState): Promise<void> {
  const change = { kind: 'change', state, revokeCertificates: undefined, resetHistory: false, audit: [] } as const;
  await store.decideDevice(EGM, second(200), () => change);
}
const standing = async (): Promise<unknown> => {
  const found = await store.device(EGM);
  return [found?.device.state.kind, found?.sync.counter, found?.versions.map(({ state }) => state)];
};

describe.each<ErrorCode>(['report.regressed', 'report.forked'])('a device quarantined for %s', (code) => {
  test('when it is re-baselined, then its reports begin anew and what it proved counts as offered', async () => {
    await contain({ kind: 'quarantined', code });
    await reBaselineCommand(ports).check?.(request);
    expect(await reBaselineCommand(ports).execute(request, BY)).toEqual({ device: EGM, state: 'enrolled' });
    expect(await standing()).toEqual(['enrolled', 0, ['offered']]);
  });

  test('when it is to be released, then that is refused before anybody is asked to approve it', async () => {
    await contain({ kind: 'quarantined', code });
    const { message } = await expectRefusal('device.state-refused', async () => releaseCommand(ports).check?.(request));
    expect(message).toContain('re-baseline');
    await expectRefusal('device.state-refused', () => releaseCommand(ports).execute(request, BY));
  });

  test('when an engineer quarantines it besides, then what brings it back stays the same', async () => {
    await contain({ kind: 'quarantined', code });
    await quarantineCommand(ports).execute(request, BY);
    expect((await store.deviceRecord(EGM))?.state).toEqual({ kind: 'quarantined', code });
  });
});

describe('a device quarantined by an engineer', () => {
  beforeEach(async () => void (await quarantineCommand(ports).execute(request, BY)));

  test('when it is released, then it goes on where it was', async () => {
    expect(await releaseCommand(ports).execute(request, BY)).toEqual({ device: EGM, state: 'enrolled' });
    expect(await standing()).toEqual(['enrolled', 7, ['active']]);
  });

  test('when it is to be re-baselined, then that is refused: its history would be lost without a reason', async () => {
    await expectRefusal('device.state-refused', async () => reBaselineCommand(ports).check?.(request));
  });
});

describe('a device that is not quarantined', () => {
  test.each<DeviceState>([{ kind: 'enrolled' }, { kind: 'revoked' }])(
    'when $kind, then it is not re-baselined',
    async (state) => {
      await contain(state);
      await expectRefusal('device.state-refused', () => reBaselineCommand(ports).execute(request, BY));
    },
  );
});
