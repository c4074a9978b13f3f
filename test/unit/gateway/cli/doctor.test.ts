/** The doctor at the bed of real installations, each broken in one way. */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { checkClock, checkRuntime } from '#gateway/cli/doctor/machine.ts';
import { examine } from '#gateway/cli/doctor/examine.ts';
import type { Finding } from '#gateway/cli/doctor/check.ts';
import { ManualClock } from '#schema/runtime/clock.ts';
import { croupier, initialiseRealm, startGatewayProgram } from './programs.ts';

const DAY = 86_400_000;
const Report = z.object({
  state: z.enum(['ok', 'warn', 'fail']),
  findings: z.array(
    z.object({
      check: z.string(),
      state: z.string(),
      message: z.string(),
      remedy: z.string().optional(),
      code: z.string().optional(),
    }),
  ),
});
type Report = z.infer<typeof Report>;

let directory: string;
let whole: string;
let data: string;

beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'croupier-doctor-'));
  whole = path.join(directory, 'whole');
  await initialiseRealm(whole);
});
afterAll(() => rmSync(directory, { recursive: true }));

let count = 0;
beforeEach(() => {
  count += 1;
  data = path.join(directory, `patient-${count}`);
  cpSync(whole, data, { recursive: true });
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

const inside = (...parts: readonly string[]): string => path.join(data, ...parts);

async function doctor(): Promise<{
  readonly exitCode: number | null;
  readonly report: Report;
  readonly failed: Report['findings'];
}> {
  const { exitCode, stdout } = await croupier('--data', data, '--json', 'doctor');
  const report = Report.parse(JSON.parse(stdout));
  return { exitCode, report, failed: report.findings.filter(({ state }) => state === 'fail') };
}

const edit = (file: string, change: (text: string) => string): void =>
  writeFileSync(file, change(readFileSync(file, 'utf8')));

function alter(statement: string): void {
  const database = new Database(inside('croupier.db'));
  database.exec(statement);
  database.close();
}

function addWebhook(mode: number, url = 'https://hooks.example/floor'): void {
  writeFileSync(inside('hook.secret'), `whsec_${Buffer.alloc(32, 7).toString('base64')}\n`);
  chmodSync(inside('hook.secret'), mode);
  edit(
    inside('croupier.toml'),
    (text) => `${text}\n[[webhooks]]\nname = "chat"\nurl = "${url}"\nsecretFile = "hook.secret"\nevents = ["*"]\n`,
  );
}

describe('an installation that is well', () => {
  test('given webhooks whose files are in order, then each is ok, by its origin and what it is told', async () => {
    addWebhook(0o600);
    const { report } = await doctor();
    expect(report.findings).toContainEqual({
      check: 'webhook chat',
      state: 'ok',
      message: 'https://hooks.example, *',
    });
  });

  test('given the gateway stopped, then nothing fails, and the root token on this machine is a warning', async () => {
    const { exitCode, report, failed } = await doctor();
    expect({ exitCode, failed }).toEqual({ exitCode: 0, failed: [] });
    expect(report.findings.filter(({ state }) => state === 'warn').map(({ check }) => check)).toEqual(['root token']);
    const names = report.findings.map(({ check }) => check);
    for (const name of [
      'runtime',
      'data directory',
      'disk space',
      'configuration',
      'gateway',
      'port est',
      'database',
      'migrations',
      'audit trail',
      'clock',
      'operators',
      'policy',
      'certificate root',
      'trust bundle',
      'HSM',
      'key device-ca-1',
      'key kek-1',
      'certificate TLS',
    ]) {
      expect(names).toContain(name);
    }
    const { stdout } = await croupier('--data', data, 'doctor');
    expect(stdout).toMatch(/^ok +HSM +token croupier-test/m);
    expect(stdout).toMatch(/\d+ checks: 0 failed, 1 warning\n$/);
  });

  test('given the gateway running, then its ports answer and its keys still sign', async () => {
    const gateway = await startGatewayProgram(data);
    const { exitCode, report } = await doctor();
    expect(await gateway.stop()).toBe(0);
    expect({ exitCode, state: report.state }, JSON.stringify(report)).toEqual({ exitCode: 0, state: 'warn' });
    expect(report.findings).toContainEqual({
      check: 'port api',
      state: 'ok',
      message: `127.0.0.1:${gateway.run.ports.api} answers`,
    });
    expect(report.findings.find(({ check }) => check === 'gateway')?.message).toContain(
      `process ${gateway.run.pid} runs`,
    );
  });
});

describe('what is broken is named, with how to mend it', () => {
  test.each<[string, () => void, number, string, string, RegExp]>([
    [
      'no data directory',
      () => rmSync(data, { recursive: true }),
      3,
      'data directory',
      'config.missing',
      /there is no data directory/,
    ],
    [
      'a token that others may read',
      () => chmodSync(inside('operators', 'approver.token'), 0o640),
      3,
      'data directory',
      'config.invalid',
      /approver\.token \(mode 640\)/,
    ],
    [
      'a directory that others may enter',
      () => chmodSync(data, 0o755),
      3,
      'data directory',
      'config.invalid',
      /mode 755/,
    ],
    [
      'a PIN that others may read',
      () => chmodSync(inside('hsm', 'pin'), 0o604),
      3,
      'data directory',
      'config.invalid',
      /hsm\/pin \(mode 604\)/,
    ],
    [
      'an unknown key in the configuration',
      () => edit(inside('croupier.toml'), (text) => `colour = "red"\n${text}`),
      3,
      'configuration',
      'config.invalid',
      /colour/,
    ],
    [
      'a configuration that is no TOML',
      () => writeFileSync(inside('croupier.toml'), 'realm = '),
      3,
      'configuration',
      'config.invalid',
      /not TOML/,
    ],
    [
      'no configuration',
      () => rmSync(inside('croupier.toml')),
      3,
      'configuration',
      'config.missing',
      /there is no configuration/,
    ],
    [
      'a webhook whose secret others may read',
      () => addWebhook(0o644),
      3,
      'webhook chat',
      'config.invalid',
      /can be read by others \(mode 644\)/,
    ],
    [
      'a webhook whose secret is not there',
      () => {
        addWebhook(0o600);
        rmSync(inside('hook.secret'));
      },
      3,
      'webhook chat',
      'config.missing',
      /hook\.secret cannot be read/,
    ],
    [
      'a webhook to a URL that is none',
      () => addWebhook(0o600, 'hooks.example'),
      3,
      'configuration',
      'config.invalid',
      /webhooks\.0\.url: not an https URL/,
    ],
    ['another PIN', () => writeFileSync(inside('hsm', 'pin'), '0'.repeat(32)), 6, 'HSM', 'hsm.pin-wrong', /PIN/],
    [
      'a token of another label',
      () => edit(inside('croupier.toml'), (text) => text.replace('croupier-test', 'other')),
      6,
      'HSM',
      'hsm.token-absent',
      /other/,
    ],
    [
      'a module that is not there',
      () => edit(inside('croupier.toml'), (text) => text.replace(/module = ".*"/, 'module = "/nowhere/pkcs11.so"')),
      6,
      'HSM',
      'hsm.module-missing',
      /\/nowhere\/pkcs11\.so/,
    ],
    [
      'a token that was taken away',
      () => renameSync(inside('hsm', 'tokens'), inside('hsm', 'away')),
      6,
      'HSM',
      'hsm.token-absent',
      /croupier-test/,
    ],
    ['no database', () => rmSync(inside('croupier.db')), 3, 'database', 'config.missing', /there is no database/],
    [
      'a file that is no database',
      () => writeFileSync(inside('croupier.db'), 'x'.repeat(8192)),
      6,
      'database',
      'store.corrupt',
      /not a database/,
    ],
    [
      'an audit record that was altered',
      () => alter(`update audit_records set record = replace(record, '"success"', '"denied"') where seq = 3`),
      8,
      'audit trail',
      'audit.broken',
      /record 3/i,
    ],
    [
      'an audit record that was deleted',
      () => alter('delete from audit_records where seq = 2'),
      8,
      'audit trail',
      'audit.broken',
      /record/i,
    ],
    [
      'a migration that this version does not know',
      () => alter(`insert into schema_migrations (hash, created_at) values ('x', 9e15)`),
      6,
      'migrations',
      'store.schema-mismatch',
      /older than the database/,
    ],
    [
      'a host that is not this machine',
      () => edit(inside('croupier.toml'), (text) => text.replace('[listen]', '[listen]\nhost = "192.0.2.1"')),
      3,
      'port est',
      'config.invalid',
      /192\.0\.2\.1/,
    ],
  ])('given %s', async (_, harm, exitCode, check, code, message) => {
    harm();
    const found = await doctor();
    const finding = found.failed.find((each) => each.check === check);
    expect(finding, JSON.stringify(found.report)).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(finding?.remedy).toMatch(/\.$/);
    expect(found).toMatchObject({ exitCode, report: { state: 'fail' } });
  });

  test('given a key that is not that of its certificate, then the key is named', async () => {
    alter(`delete from authorities where key_label = 'device-ca-1'`);
    alter(`update authorities set key_label = 'device-ca-1' where role = 'audit-signer'`);
    const { failed } = await doctor();
    expect(failed).toContainEqual(expect.objectContaining({ check: 'key device-ca-1', code: 'hsm.key-unsafe' }));
  });

  test('given a port that another process has taken, then the port is named', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    edit(inside('croupier.toml'), (text) => text.replace('mqtt = 0', `mqtt = ${port}`));
    const { failed } = await doctor();
    server.close();
    expect(failed).toMatchObject([
      { check: 'port mqtt', code: 'port.in-use', message: `another process listens on 127.0.0.1:${port}` },
    ]);
  });

  test('given a gateway that was killed, then that is a warning, since nothing needs repair', async () => {
    const run = {
      pid: 2 ** 22 + 1,
      startedAt: 'then',
      host: '127.0.0.1',
      ports: { est: 1, mqtt: 1, api: 1, public: 1 },
    };
    writeFileSync(inside('run.json'), JSON.stringify(run));
    const { exitCode, report } = await doctor();
    expect(exitCode).toBe(0);
    expect(report.findings).toContainEqual(
      expect.objectContaining({ check: 'gateway', state: 'warn', message: expect.stringContaining('has ended') }),
    );
  });

  test('given a root token in a safe, then nothing is left to warn of', async () => {
    rmSync(inside('root-token'), { recursive: true });
    mkdirSync(inside('root-token'), { mode: 0o700 });
    expect((await doctor()).report.state).toBe('ok');
  });
});

describe('time', () => {
  const states = (findings: readonly Finding[], check: string): string | undefined =>
    findings.find((each) => each.check === check)?.state;

  test('given the same installation in later years, then what expires is first a warning, then a failure', async () => {
    const now = Date.now();
    const at = (days: number): Promise<readonly Finding[]> =>
      examine(data, new ManualClock(new Date(now + days * DAY)));
    const soon = await at(70);
    expect([
      states(soon, 'certificate TLS'),
      states(soon, 'certificate device-ca'),
      states(soon, 'trust bundle'),
    ]).toEqual(['warn', 'ok', 'ok']);
    const later = await at(345);
    expect([states(later, 'certificate TLS'), states(later, 'trust bundle')]).toEqual(['fail', 'warn']);
    const late = await at(365 * 5 - 30);
    expect([
      states(late, 'certificate device-ca'),
      states(late, 'certificate audit-signer'),
      states(late, 'certificate root'),
    ]).toEqual(['warn', 'fail', 'ok']);
  });

  test('given a clock behind what was recorded, then it is at fault; a little behind, or ahead, it is not', async () => {
    const written = new Date('2026-11-21T12:00:00.000Z');
    const judge = (seconds: number): string | undefined =>
      checkClock(new Date(written.getTime() + seconds * 1_000), written)[0]?.state;
    expect([judge(-3_600), judge(-30), judge(3_600)]).toEqual(['fail', 'ok', 'ok']);
    expect(states(await examine(data, new ManualClock(new Date(Date.now() - DAY))), 'clock')).toBe('fail');
  });

  test('given an old Node, then it is named', () => {
    expect(checkRuntime('20.11.1')).toMatchObject([{ state: 'fail', code: 'runtime.unsupported' }]);
    expect(checkRuntime('26.0.0')).toMatchObject([{ state: 'ok' }]);
  });
});
