/**
 * The gateway is restored from last week's backup while its floor has gone on: sequence and counters go on upwards,
 * desired and reported meet again, nothing is issued twice. docs/restore.md says the same to people.
 */
import { copyFile, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { backupDatabase, restoreDatabase, type RestoreSummary } from '#gateway/installation/backup.ts';
import { DeviceId, TrustVersion } from '#schema/ids.ts';
import { systemClock } from '#schema/runtime/clock.ts';
import { croupier, croupierProgram, type Ended } from '#test/unit/gateway/cli/programs.ts';
import { freshCsr, requestCertificate } from '#test/support/est-request.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { REPORT_MAC, startCasino, WALLET, type Casino } from '#test/support/casino.ts';

let casino: Casino;
/** Check values that were ever seen, by device and version: of one version there is one value. */
let seen: Map<string, Set<string>>;

beforeEach(async () => {
  seen = new Map();
  casino = await startCasino({ floor: { egm: 3, service: 1 } });
  await casino.allOn();
  await casino.untilConverged();
});

afterEach(() => casino.close());

const backupFile = (): string => path.join(casino.data.root, 'last-week.db');
const floorOn = (): string[] => [...casino.devices.values()].filter(({ isOn }) => isOn).map(({ id }) => id);

/** What the devices themselves hold. */
function note(): void {
  for (const device of casino.devices.values()) {
    if (!device.isOn) continue;
    for (const { keySet, versions } of device.run.agent.view.keyrings()) {
      const owner = keySet === REPORT_MAC ? device.id : 'all';
      for (const { version, kcv } of versions) {
        const key = `${owner} ${keySet}/${version}`;
        seen.set(key, (seen.get(key) ?? new Set()).add(kcv));
      }
    }
  }
}

/** Sequence numbers that were given out, with the digest of what they carried. */
function sent(file: string): ReadonlyMap<string, string> {
  const database = new Database(file, { readonly: true });
  try {
    const rows = database.prepare("select device || ' ' || seq, sha256 from updates").raw().all();
    return new Map(rows.map((row) => (Array.isArray(row) ? [String(row[0]), String(row[1])] : ['', ''])));
  } finally {
    database.close();
  }
}

async function restore(): Promise<RestoreSummary> {
  note();
  await casino.stopGateway();
  const summary = await casino.replaceDatabase(() =>
    restoreDatabase(casino.data, casino.config, backupFile(), systemClock),
  );
  await casino.startGateway();
  return summary;
}

const heldBundle = (id: string): string =>
  Buffer.from(casino.device(id).run.agent.view.trust()?.bundle ?? []).toString('base64');

const alertCodes = async (): Promise<string[]> =>
  (await casino.as('grace', (api) => api.call('alert.list', { query: { limit: 100 } }))).items.map(({ code }) => code);

const states = async (): Promise<Record<number, string>> =>
  Object.fromEntries(
    ((await casino.store.keySet(WALLET))?.versions ?? []).map(({ version, state }) => [version, state]),
  );

/** No number of anything was given out for two things, before the restoration and after it together. */
async function nothingTwice(summary: Pick<RestoreSummary, 'aside'>): Promise<void> {
  note();
  for (const [version, values] of seen) expect([...values], version).toHaveLength(1);
  const [before, after] = [sent(summary.aside ?? ''), sent(casino.config.store.path)];
  for (const [seq, digest] of after) expect(before.get(seq) ?? digest, `update ${seq}`).toBe(digest);
  await casino.auditRecords();
}

const refusals = (): string[] =>
  [...casino.devices.values()].flatMap((device) =>
    device.isOn ? device.run.all('update-refused').map(({ code }) => `${device.id} ${code}`) : [],
  );

describe('given a gateway that is restored from a backup', () => {
  test('when its floor has moved on two key versions and a trust bundle, then after the import and a rotation they meet again', async () => {
    await casino.device('egm-3').off();
    await backupDatabase(casino.config, backupFile(), systemClock);
    await casino.rotateUntil('active');
    await casino.rotateUntil('active');
    await casino.rotateUntil('active', REPORT_MAC);
    await casino.publishTrust();
    await casino.untilConverged();
    const on = floorOn();
    expect(casino.device('egm-1').holds()).toEqual(['1 stored', '2 stored', '3 active']);
    expect(casino.device('egm-1').trustVersion).toBe(2);

    const summary = await restore();
    expect((await casino.store.latestTrustBundle())?.version, 'the link is lost').toBe(1);
    await casino.until(
      async () => (await states())[3] !== undefined && (await casino.detail('service-1')).sync.trustVersion === 2,
      states,
    );
    expect(await states(), 'what devices hold is known again, and its number taken').toMatchObject({
      1: 'active',
      2: 'deactivated',
      3: 'deactivated',
    });
    expect((await casino.store.keySet(WALLET))?.versions.find(({ version }) => version === 3)?.wrapped).toBeUndefined();
    expect(await alertCodes()).toEqual(expect.arrayContaining(['report.ahead', 'keyset.version-lost']));

    await expectRefusal('trust.link-missing', () => casino.publishTrust());
    const bundle = heldBundle('egm-1');
    const altered = Buffer.from(bundle, 'base64');
    altered.writeUInt8(altered.readUInt8(altered.length - 1) ^ 1, altered.length - 1);
    const take = (links: readonly string[]) =>
      casino.as('ada', (api) => api.call('trust.import', { body: { links: [...links] } }));
    await expectRefusal('message.signature-invalid', () => take([altered.toString('base64')]));
    expect(await take([bundle])).toMatchObject({ state: 'done', result: { imported: [2], latest: 2 } });
    expect(await take([bundle]), 'it is there already').toMatchObject({ result: { imported: [] } });

    await casino.untilConverged(...on);
    expect(casino.device('egm-1').holds(), 'nobody was sent back').toEqual(['1 stored', '2 stored', '3 active']);
    expect(refusals()).toEqual([]);
    await casino.publishTrust();
    const rollout = await casino.rotateUntil('active');
    const { toVersion } = await casino.keyRollout(rollout);
    expect(toVersion, 'numbers that may have been given out are passed over').toBeGreaterThan(1_000);
    await casino.device('egm-3').on();
    await casino.rotateUntil('active', REPORT_MAC);
    await casino.untilConverged();
    for (const id of ['egm-1', 'egm-3', 'service-1']) {
      expect(casino.device(id).holds(), id).toContain(`${toVersion} active`);
      expect(casino.device(id).trustVersion).toBe(3);
    }

    await casino.retire(rollout);
    await casino.untilRollout(rollout, 'retired');
    await casino.destroy(rollout);
    await casino.untilRollout(rollout, 'destroyed');
    await casino.untilConverged();
    for (const device of casino.devices.values()) expect(device.holds(), device.id).toEqual([`${toVersion} active`]);
    expect(refusals()).toEqual([]);
    await nothingTwice(summary);
  });

  test('when the version that it takes for active was destroyed since, then nobody is told to go back, and nobody is asked without end', async () => {
    await backupDatabase(casino.config, backupFile(), systemClock);
    await casino.rotateUntil('destroyed');
    await casino.rotateUntil('active');
    await casino.untilConverged();
    const held = casino.device('egm-1').holds();
    expect(held).toEqual(['2 stored', '3 active']);

    const summary = await restore();
    await casino.untilConverged();
    expect(casino.device('egm-1').holds()).toEqual(held);
    expect((await casino.detail('egm-1')).device.state).toEqual({ kind: 'enrolled' });
    const { seq } = (await casino.detail('egm-1')).sync;
    await casino.device('egm-1').run.agent.report();
    await casino.device('egm-1').run.agent.report();
    await casino.until(
      async () =>
        (await casino.detail('egm-1')).sync.counter === casino.device('egm-1').run.agent.status().reportCounter,
      () => 'the last report',
    );
    expect((await casino.detail('egm-1')).sync, 'nothing is due').toMatchObject({ seq, dueAt: undefined });
    const { toVersion } = await casino.keyRollout(await casino.rotateUntil('active'));
    await casino.untilConverged();
    for (const device of casino.devices.values()) expect(device.holds(), device.id).toContain(`${toVersion} active`);
    expect(refusals()).toEqual([]);
    await nothingTwice(summary);
  });

  test('when somebody copied the file back by hand, then what devices report is enough to meet again', async () => {
    await backupDatabase(casino.config, backupFile(), systemClock);
    await casino.rotateUntil('active');
    await casino.rotateUntil('active');
    await casino.untilConverged();
    note();
    await casino.stopGateway();
    const { path: file } = casino.config.store;
    const aside = `${file}.aside`;
    await casino.replaceDatabase(async () => {
      await rename(file, aside);
      await copyFile(backupFile(), file);
    });
    await casino.startGateway();
    await casino.until(async () => (await states())[3] !== undefined, states);
    await casino.untilConverged();
    const { toVersion } = await casino.keyRollout(await casino.rotateUntil('active'));
    expect(toVersion, 'the numbers that devices hold are taken').toBe(4);
    await casino.untilConverged();
    for (const device of casino.devices.values()) expect(device.holds(), device.id).toContain('4 active');
    expect(refusals()).toEqual([]);
    await nothingTwice({ aside });
  });

  test('when links were published through it, then its own files bring them back at its start', async () => {
    await backupDatabase(casino.config, backupFile(), systemClock);
    await casino.byTwo('ada', (api) => api.call('trust.publish', { body: {} }));
    await casino.byTwo('ada', (api) => api.call('trust.publish', { body: {} }));
    await casino.untilConverged();
    expect(casino.device('egm-1').trustVersion).toBe(3);
    const kept = await readFile(path.join(casino.data.trustLinks, '000003.p7m'));
    expect(kept.toString('base64')).toBe(heldBundle('egm-1'));

    await restore();
    expect((await casino.store.latestTrustBundle())?.version).toBe(3);
    const imports = (await casino.auditRecords()).filter(({ action }) => action === 'trust.import');
    expect(imports.map(({ object }) => object?.id)).toEqual(['2', '3']);
    await casino.untilConverged();
    await casino.publishTrust();
    await casino.untilConverged();
    expect(casino.device('egm-1').trustVersion).toBe(4);
  });

  test('when nobody has reported since, then no bundle is published that might fork the chain', async () => {
    await backupDatabase(casino.config, backupFile(), systemClock);
    for (const id of floorOn()) await casino.device(id).off();
    await restore();
    await expectRefusal('trust.link-missing', () => casino.publishTrust());
    await casino.device('egm-1').on();
    await casino.untilConverged('egm-1');
    await casino.publishTrust();
    expect((await casino.store.latestTrustBundle())?.version).toBe(TrustVersion.parse(2));
  });

  test('when devices were contained since, and tickets used, then they stay contained, and no code opens anything twice', async () => {
    await casino.addDevices([{ id: 'egm-9', class: 'egm' }]);
    const { ticket } = casino.device('egm-9');
    await backupDatabase(casino.config, backupFile(), systemClock);
    await casino.quarantine('egm-1');
    await casino.byOne('grace', (api) =>
      api.call('device.revoke', { params: { id: DeviceId.parse('egm-2') }, body: { reason: 'stolen' } }),
    );
    await casino.device('egm-9').on();
    await casino.untilConverged('egm-9');

    const summary = await restore();
    expect(summary).toMatchObject({ contained: ['egm-1', 'egm-2'], tickets: 1, predecessorRead: true });
    expect((await casino.detail('egm-1')).device.state).toEqual({ kind: 'quarantined', code: 'enrolment.quarantined' });
    expect((await casino.detail('egm-2')).device.state.kind).toBe('revoked');
    expect((await casino.certificatesOf('egm-2')).map(({ state }) => state)).toEqual(['revoked']);
    const [record] = (await casino.auditRecords()).filter(({ action }) => action === 'gateway.restore');
    expect(record?.details).toMatchObject({
      contained: ['egm-1', 'egm-2'],
      abandoned: `${summary.abandoned?.seq}:${summary.abandoned?.hash}`,
    });
    if (ticket === undefined) throw new Error('egm-9 has no ticket');
    await casino.device('egm-9').off();
    expect(await requestCertificate(ticket, await freshCsr('egm-9'))).toMatchObject({ status: 401 });
    const fresh = await casino.newTicket('egm-9');
    expect(await requestCertificate(fresh, await freshCsr('egm-9'))).toMatchObject({ status: 200 });
  });

  test('when a certificate was issued since, then its request is parked with an alert, and an engineer lets it in', async () => {
    await casino.addDevices([{ id: 'egm-9', class: 'egm' }]);
    await backupDatabase(casino.config, backupFile(), systemClock);
    const device = casino.device('egm-9');
    await device.on();
    await casino.untilConverged('egm-9');
    const serial = device.run.agent.status().identity?.serial;

    await restore();
    expect((await casino.detail('egm-9')).device.state.kind, 'its enrolment is forgotten').toBe('registered');
    const request = await casino.until(
      async () => (await casino.store.enrolmentRequests('pending', 10))[0],
      () => device.run.events.slice(-8),
    );
    expect(request).toMatchObject({ device: 'egm-9', reason: 'certificate.unknown' });
    const { items } = await casino.as('grace', (api) => api.call('alert.list', { query: { limit: 100 } }));
    expect(items.find(({ device: id }) => id === 'egm-9')).toMatchObject({
      code: 'enrolment.parked',
      message: expect.stringContaining(request.id),
    });
    await casino.byOne('grace', (api) => api.call('enrolment.approve', { params: { id: request.id }, body: {} }));
    await device.run.agent.renew();
    await casino.untilConverged('egm-9');
    expect(device.run.agent.status().identity?.serial).not.toBe(serial);
  });
});

describe('given croupier backup and croupier restore', () => {
  const own = (): readonly string[] => ['--data', casino.data.root, '--json'];
  const run = (...args: readonly string[]) => croupier(...own(), ...args);
  const isRefused = (code: string, { exitCode, stdout }: Ended): void => {
    expect(JSON.parse(stdout)).toMatchObject({ error: { code } });
    expect(exitCode).not.toBe(0);
  };
  const refused = async (code: string, ...args: readonly string[]): Promise<void> =>
    isRefused(code, await run(...args));

  test('when the gateway runs, or the file is no whole backup of this realm, then nothing is changed; else it is', async () => {
    const file = backupFile();
    const taken = await run('backup', file);
    expect(JSON.parse(taken.stdout), taken.stderr).toMatchObject({ file, head: { hash: expect.any(String) } });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await refused('input.invalid', 'backup', file);
    isRefused('data.in-use', await croupierProgram(...own(), 'restore', file, '--yes'));
    for (const id of floorOn()) await casino.device(id).off();
    await casino.stopGateway();
    await refused('input.invalid', 'restore', file);

    const forged = path.join(casino.data.root, 'forged.db');
    await run('backup', forged);
    const database = new Database(forged);
    database.exec("update audit_records set record = replace(record, 'device.import', 'device.forget')");
    database.close();
    const { seq } = await casino.store.auditHead();
    await refused('audit.broken', 'restore', forged, '--yes');
    await refused('store.corrupt', 'restore', casino.data.config, '--yes');
    await refused('config.missing', 'restore', path.join(casino.data.root, 'no.db'), '--yes');
    expect((await casino.store.auditHead()).seq).toBe(seq);

    const restored = await casino.replaceDatabase(() => run('restore', file, '--yes'));
    expect(restored.exitCode, restored.stdout).toBe(0);
    expect(JSON.parse(restored.stdout)).toMatchObject({ restored: true, predecessorRead: true, contained: [] });
    expect((await casino.store.restoration())?.numbersUpTo).toBeGreaterThan(1_000);
    await casino.startGateway();
    await casino.allOn();
    await casino.untilConverged();
    await casino.auditRecords();
  });

  test('when it is restored again from the same backup, then numbers given out in between are passed over, too', async () => {
    await backupDatabase(casino.config, backupFile(), systemClock);
    await restore();
    await casino.untilConverged();
    const first = await casino.keyRollout(await casino.rotateUntil('active'));
    await casino.untilConverged();
    const summary = await restore();
    await casino.until(async () => (await states())[first.toVersion] !== undefined, states);
    const second = await casino.keyRollout(await casino.rotateUntil('active'));
    expect(second.toVersion).toBeGreaterThan(first.toVersion + 1_000);
    await casino.untilConverged();
    await nothingTwice(summary);
  });
});
