/** The revocation list over the real store, with a clock that moves when told. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { isCrlOf, parseCrl, type ParsedCrl } from '#pki/crl/parse.ts';
import { createRevocationList, type RevocationList } from '#gateway/enrolment/revocation-list.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { RevocationListPorts } from '#gateway/enrolment/revocation-list.ts';
import { DAY, enrolledDevice, startEstGateway, type EstGateway } from '#test/support/est-gateway.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki, type TestAuthority } from '#test/support/test-pki.ts';

describe('revocation list', () => {
  let gateway: EstGateway;
  const lists: RevocationList[] = [];
  beforeEach(async () => void (gateway = await startEstGateway()));
  afterEach(async () => {
    await Promise.all(lists.splice(0).map((list) => list.stop()));
    await gateway.stop();
  });

  const start = (over: Partial<RevocationListPorts> = {}): RevocationList => {
    const list = createRevocationList({
      store: gateway.store,
      clock: gateway.clock,
      log: silentLog,
      issuers: () => [{ ...gateway.pki.deviceCa, keyLabel: 'device-ca-1' }],
      validityMs: 7 * DAY,
      refreshMs: DAY,
      ...over,
    });
    lists.push(list);
    return list;
  };
  const read = async (list: RevocationList): Promise<ParsedCrl> => parseCrl(await list.current());
  const numbered = async (list: RevocationList, number: number): Promise<ParsedCrl> => {
    await expect.poll(async () => (await read(list)).number).toBe(number);
    return read(list);
  };
  const serialOf = (certificate: Uint8Array): string => parseCertificate(certificate).serialNumber;

  test('given a new realm, when the list is asked for, then number 1 comes, empty, signed by the Device CA, and is stored', async () => {
    const list = start();
    const crl = await read(list);
    expect([crl.number, crl.revoked.size]).toEqual([1, 0]);
    expect(isCrlOf(crl, gateway.pki.deviceCa.issuer)).toBe(true);
    expect(crl.nextUpdate.getTime() - crl.thisUpdate.getTime()).toBe(7 * DAY);
    expect(await list.current(), 'the same object').toBe(await list.current());
    expect((await gateway.store.latestCrl())?.der).toEqual(await list.current());
    expect((await gateway.auditRecords()).at(-1)).toMatchObject({
      action: 'crl.issue',
      object: { type: 'crl', id: '1' },
    });
  });

  test('given a device that is revoked, when told, then the next list names its certificate and no other', async () => {
    const [one, two] = [await enrolledDevice(gateway, 'egm-1'), await enrolledDevice(gateway, 'egm-2')];
    const list = start();
    expect((await read(list)).revoked.size).toBe(0);
    await gateway.revoke('egm-1');
    list.changed();
    const { revoked } = await numbered(list, 2);
    expect([revoked.has(serialOf(one.certificate)), revoked.has(serialOf(two.certificate))]).toEqual([true, false]);
  });

  test('given two Device CAs, when a device is revoked, then the list of its own names it, and a restart finds both again', async () => {
    const other = await createTestPki({ realm: 'test', now: new Date(gateway.pki.setting.now.getTime() + 1000) });
    const issuers = (): readonly (TestAuthority & { keyLabel: string })[] => [
      { ...other.deviceCa, keyLabel: 'device-ca-2' },
      { ...gateway.pki.deviceCa, keyLabel: 'device-ca-1' },
    ];
    const { certificate } = await enrolledDevice(gateway, 'egm-1');
    const list = start({ issuers });
    expect(isCrlOf(await read(list), other.deviceCa.issuer)).toBe(true);
    await gateway.revoke('egm-1');
    list.changed();
    const revokedBy = async (one: RevocationList, keyLabel: string): Promise<readonly string[]> => [
      ...parseCrl(await one.current(keyLabel)).revoked.keys(),
    ];
    await expect.poll(() => revokedBy(list, 'device-ca-1')).toEqual([serialOf(certificate)]);
    expect(await revokedBy(list, 'device-ca-2')).toEqual([]);
    await expectRefusal('authority.not-found', () => list.current('device-ca-3'));
    await list.stop();

    const again = start({ issuers });
    expect(await again.current('device-ca-1')).toEqual(await list.current('device-ca-1'));
    expect(await again.current()).toEqual(await list.current('device-ca-2'));
    const [first, second] = [await list.current('device-ca-1'), await list.current('device-ca-2')].map(parseCrl);
    expect(first?.number, 'one sequence for all').not.toBe(second?.number);
  });

  test('given a CA that issues no more, when it has expired, then its list ends; that of the one that issues does not', async () => {
    const old = await createTestPki({
      realm: 'test',
      now: new Date(gateway.pki.setting.now.getTime() - 4 * 365 * DAY),
    });
    const issuers = (): readonly (TestAuthority & { keyLabel: string })[] => [
      { ...gateway.pki.deviceCa, keyLabel: 'device-ca-2' },
      { ...old.deviceCa, keyLabel: 'device-ca-1' },
    ];
    const list = start({ issuers });
    expect(isCrlOf(parseCrl(await list.current('device-ca-1')), old.deviceCa.issuer)).toBe(true);
    gateway.clock.advance(2 * 365 * DAY);
    const { number } = await read(list);
    await expect.poll(async () => (await read(list)).number).toBeGreaterThan(number);
    const stored = (await gateway.store.recentCrls(10)).map(({ der }) => parseCrl(der));
    expect(stored.filter((crl) => isCrlOf(crl, old.deviceCa.issuer))).toHaveLength(1);
  });

  test('given many revocations at once, when told of each, then few lists are made', async () => {
    const list = start();
    await read(list);
    for (let count = 0; count < 50; count += 1) list.changed();
    await numbered(list, 2);
    await list.stop();
    expect((await read(list)).number).toBeLessThanOrEqual(3);
  });

  test('given nothing happens, when the time for a refresh comes, then a list with a higher number follows', async () => {
    const list = start();
    await read(list);
    gateway.clock.advance(DAY - 1000);
    expect((await read(list)).number).toBe(1);
    gateway.clock.advance(2000);
    await numbered(list, 2);
  });

  test('given a restart, when the stored list is fresh, then it is served as it is; when it is due, the number goes on', async () => {
    const before = await start().current();
    const again = start();
    expect(await again.current()).toEqual(before);
    gateway.clock.step(new Date(gateway.clock.now().getTime() + 2 * DAY));
    await numbered(start(), 2);
  });

  test('given a revoked certificate that ends, when one list has shown it after its end, then the next leaves it out', async () => {
    const device = await enrolledDevice(gateway, 'egm-1');
    await gateway.revoke('egm-1');
    const list = start();
    const serial = serialOf(device.certificate);
    const shows = async (): Promise<boolean> => (await read(list)).revoked.has(serial);
    expect(await shows()).toBe(true);
    let { number } = await read(list);
    const advance = async (days: number): Promise<void> => {
      gateway.clock.advance(days * DAY);
      number += 1;
      await expect.poll(async () => (await read(list)).number).toBeGreaterThanOrEqual(number);
      ({ number } = await read(list));
    };
    await advance(91);
    expect(await shows(), 'the first list after the end').toBe(true);
    await advance(2);
    expect(await shows(), 'the list after that').toBe(false);
  });

  test('given the HSM is away, when there is a list, then it is served on, and made anew when the HSM is back', async () => {
    const list = start();
    await read(list);
    gateway.pki.hsm.disconnect('away');
    list.changed();
    gateway.clock.advance(30_000);
    expect((await read(list)).number).toBe(1);
    gateway.pki.hsm.reconnect();
    await expect.poll(async () => (gateway.clock.advance(10_000), (await read(list)).number)).toBeGreaterThanOrEqual(2);
  });

  test('given the HSM is away, when there is no list yet, then hsm.unavailable; after it is back the list comes', async () => {
    gateway.pki.hsm.disconnect('away');
    const list = start();
    await expectRefusal('hsm.unavailable', () => list.current());
    gateway.pki.hsm.reconnect();
    await expect
      .poll(
        async () => (
          gateway.clock.advance(10_000),
          list.current().then(
            () => true,
            () => false,
          )
        ),
      )
      .toBe(true);
  });
});
