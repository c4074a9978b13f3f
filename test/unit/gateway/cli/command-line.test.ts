/** The command line against a gateway of its own by plain node: SoftHSM2, SQLite, TLS. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { Ticket } from '#schema/ticket.ts';
import {
  croupier,
  croupierProgram,
  initialiseRealm,
  startGatewayProgram,
  type Ended,
  type RunningProgram,
} from './programs.ts';

let directory: string;
let data: string;
let gateway: RunningProgram;

beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'croupier-cli-'));
  data = path.join(directory, 'var');
  await initialiseRealm(data);
  gateway = await startGatewayProgram(data);
});
afterAll(async () => {
  const code = await gateway.stop();
  rmSync(directory, { recursive: true });
  expect(code).toBe(0);
});

const cli = (...args: readonly string[]): Promise<Ended> => croupier('--data', data, ...args);

/** Runs with `--json` and reads the one document, after checking that there is no more on stdout. */
async function json<Schema extends z.ZodType>(schema: Schema, ...args: readonly string[]): Promise<z.infer<Schema>> {
  const { exitCode, stdout, stderr } = await cli('--json', ...args);
  expect({ exitCode, stderr }, stdout).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout.endsWith('\n') && stdout.trimEnd().split('\n').length === 1).toBe(true);
  return schema.parse(JSON.parse(stdout));
}

/** What a refusal prints. */
function expectRefused(ended: Ended, exitCode: number, code: string, message: RegExp): void {
  expect(ended).toMatchObject({ exitCode, stdout: '' });
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).toMatch(new RegExp(`^error: [^]*\\nwhat to do: .*\\ncode: ${code.replace('.', '\\.')}\\n$`));
}

function file(name: string, content: string, mode = 0o600): string {
  const place = path.join(directory, name);
  writeFileSync(place, content, { mode });
  chmodSync(place, mode);
  return place;
}

const Items = z.object({ items: z.array(z.looseObject({ id: z.string() })) });
const Asked = z.object({
  state: z.literal('approval-required'),
  approval: z.object({ id: z.string(), sha256: z.string() }),
});
const Done = z.looseObject({ state: z.literal('done') });

const deviceIds = async (...args: readonly string[]): Promise<string[]> =>
  (await json(Items, 'device', 'list', ...args)).items.map(({ id }) => id);

async function pendingApproval(action: string): Promise<string> {
  const Pending = z.object({ items: z.array(z.object({ id: z.string(), action: z.string() })) });
  for (;;) {
    const { items } = await json(Pending, 'approval', 'list', '--state', 'pending');
    const found = items.find((item) => item.action === action);
    if (found !== undefined) return found.id;
    await delay(100);
  }
}

describe('inventory', () => {
  test('given a file of an asset register, then its devices are there, labels included', async () => {
    const csv = file(
      'floor.csv',
      '\ufeffSerial;ID;Class;Site;Bank\r\nS1;egm-1;egm;vegas;A\r\nS2;egm-2;egm;vegas;\r\nS3;kiosk-1;kiosk;reno;B\r\n',
    );
    expect(await cli('device', 'import', csv)).toEqual({ exitCode: 0, stdout: 'imported 3 devices\n', stderr: '' });
    expect(await deviceIds()).toEqual(['egm-1', 'egm-2', 'kiosk-1']);
    expect(await deviceIds('--class', 'egm', '--limit', '1')).toEqual(['egm-1']);
    expect(await deviceIds('--connected')).toEqual([]);
    expect(await deviceIds('--no-connected', '--site', 'reno')).toEqual(['kiosk-1']);
    const { stdout } = await cli('device', 'list');
    expect(stdout).toMatch(/^DEVICE +CLASS +SITE/);
    expect(stdout).toMatch(/^egm-1 +egm +vegas +S1 +registered +no +- +0 +bank=A$/m);
    expect((await cli('device', 'show', 'kiosk-1')).stdout).toMatch(/^serial +S3$/m);
  });

  test('given bad rows, or a device that is there already, then nothing is imported', async () => {
    const before = await deviceIds();
    const bad = file('bad.csv', 'id,class,site,serial\nnew-1,egm,vegas,S\nnew-2,slot,vegas,S\n');
    expectRefused(
      await cli('device', 'import', bad),
      2,
      'inventory.invalid',
      /line 3: class: slot is not in the policy/,
    );
    const known = file('known.csv', 'id,class,site,serial\nnew-1,egm,vegas,S\negm-1,egm,vegas,S\n');
    expectRefused(await cli('device', 'import', known), 11, 'device.exists', /egm-1/);
    expect(await deviceIds()).toEqual(before);
  });
});

describe('tickets', () => {
  test('given a device, then a file of its owner alone holds the ticket, and the code is printed only when asked for', async () => {
    const out = path.join(directory, 'out');
    const { stdout } = await cli('device', 'ticket', 'egm-1', '--out', out);
    const place = path.join(out, 'egm-1.ticket');
    expect([statSync(out).mode & 0o777, statSync(place).mode & 0o777]).toEqual([0o700, 0o600]);
    const ticket = Ticket.parse(JSON.parse(readFileSync(place, 'utf8')));
    expect(ticket).toMatchObject({ device: 'egm-1', realm: 'test', est: `https://localhost:${gateway.run.ports.est}` });
    expect(stdout).toContain(`1 ticket, valid until ${ticket.expiresAt}`);
    expect(stdout).not.toContain(ticket.code);
    const shown = await cli('device', 'ticket', 'egm-1', '--out', out, '--show-code');
    expect(shown.stdout).toContain(Ticket.parse(JSON.parse(readFileSync(place, 'utf8'))).code);
  });

  test('given more than 50 devices, then import and tickets wait for an approver, and the files are written at once', async () => {
    const rows = Array.from({ length: 51 }, (_, index) => `bulk-${String(index).padStart(2, '0')},pos,bulk,S${index}`);
    const csv = file('bulk.csv', ['id,class,site,serial', ...rows].join('\n'));
    const asked = await json(Asked, 'device', 'import', csv);
    expect(await deviceIds('--site', 'bulk')).toEqual([]);
    expect((await cli('approval', 'approve', asked.approval.id, '--yes')).exitCode).toBe(0);
    expect(await deviceIds('--site', 'bulk')).toHaveLength(51);
    const out = path.join(directory, 'bulk');
    const { exitCode, stdout } = await cli('device', 'ticket', '--all-without', '--out', out);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /54 tickets written; they become valid when the request is approved\napproval needed: tickets for 54 devices/,
    );
    expect(readdirSync(out)).toHaveLength(54);
    const approval = await pendingApproval('device.ticket');
    const code = Ticket.parse(JSON.parse(readFileSync(path.join(out, 'bulk-00.ticket'), 'utf8'))).code;
    const shown = await cli('approval', 'show', approval);
    expect(shown.stdout).toContain('"codeHash"');
    expect(shown.stdout).not.toContain(code);
    expect((await cli('approval', 'approve', approval, '--yes')).exitCode).toBe(0);
  });

  test('given neither devices nor --all-without, or an unknown device, then no file is written', async () => {
    expectRefused(await cli('device', 'ticket'), 2, 'input.invalid', /name the devices, or pass --all-without/);
    const out = path.join(directory, 'none');
    expectRefused(await cli('device', 'ticket', 'ghost', '--out', out), 11, 'device.not-found', /ghost/);
    expect(existsSync(path.join(out, 'ghost.ticket'))).toBe(false);
  });
});

describe('rotation and approvals', () => {
  test('given a rotation that is approved while the command waits, then it ends when the version is active', async () => {
    const rotation = cli('--as', 'key-admin', 'rotate', 'wallet-kek', '--reason', 'due', '--yes');
    const approval = await pendingApproval('keyset.rotate');
    const shown = await cli('approval', 'show', approval.slice(0, 8));
    expect(shown.stdout).toMatch(/^summary +rotate wallet-kek by plan default: due$/m);
    expect(shown.stdout).toContain('"keySet": "wallet-kek"');
    const other = 'f'.repeat(64);
    expectRefused(
      await cli('approval', 'approve', approval, '--sha256', other),
      10,
      'approval.hash-mismatch',
      /has the hash/,
    );
    const nobody = await cli('approval', 'approve', approval);
    expect(nobody).toMatchObject({ exitCode: 2, stdout: '' });
    expect(nobody.stderr).toContain('pass --yes or --sha256 HASH');
    const hash = /^sha256 +([0-9a-f]{64})$/m.exec(shown.stdout)?.[1] ?? '';
    expect((await cli('approval', 'approve', approval, '--sha256', hash)).stdout).toBe(
      'approved and done: rotate wallet-kek by plan default: due\n',
    );
    const { exitCode, stdout, stderr } = await rotation;
    expect({ exitCode, stdout: stdout.replace(/\d+ offline.*/, '…') }).toMatchObject({ exitCode: 0 });
    expect(stdout).toMatch(/^wallet-kek: version 1 to 2 is active/);
    expect(stderr).toContain('approved by approver');
    expect((await cli('keyset', 'show', 'wallet-kek')).stdout).toMatch(/^ +2 +active /m);
  });

  test('given a rotation that is refused, then the waiting command says so', async () => {
    const rotation = cli('--as', 'device-engineer', 'rotate', 'report-mac', '--yes');
    const approval = await pendingApproval('keyset.rotate');
    expect((await cli('approval', 'refuse', approval)).stdout).toBe('refused: rotate report-mac by plan default\n');
    const ended = await rotation;
    expect(ended).toMatchObject({ exitCode: 10, stdout: '' });
    expect(ended.stderr).toMatch(/error: approver refused the request\n/);
    expectRefused(await cli('approval', 'approve', approval, '--yes'), 10, 'approval.closed', /refused already/);
  });

  test('given an unknown key set or rollout, then its name is told', async () => {
    expectRefused(await cli('--as', 'key-admin', 'rotate', 'nothing'), 11, 'keyset.not-found', /nothing/);
    expectRefused(await cli('rollout', 'watch', 'nothing'), 11, 'rollout.not-found', /nothing/);
  });

  test('given no terminal and no --yes, then the plan is shown, nothing is asked for, and the exit code is 2', async () => {
    const { exitCode, stdout, stderr } = await cli('--as', 'key-admin', 'rotate', 'report-mac');
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^what +key set report-mac: version 2 in place of 1$/m);
    expect(stderr).toMatch(/pass --yes to go on/);
    expect((await json(Items, 'approval', 'list', '--state', 'pending')).items).toEqual([]);
  });
});

describe('rollouts', () => {
  const engineer = ['--as', 'device-engineer'] as const;
  const Id = z.looseObject({ id: z.string() });
  const approvedNow = async (asked: z.infer<typeof Asked>): Promise<Ended> =>
    cli('approval', 'approve', asked.approval.id, '--yes');

  test('given a plan, then waves, gates, who is left behind and a hash; with a fault the exit code says so', async () => {
    const plan = await cli('rollout', 'plan', 'report-mac');
    expect(plan).toMatchObject({ exitCode: 0, stderr: '' });
    expect(plan.stdout).toMatch(/^sha256 +[0-9a-f]{64}$/m);
    expect(plan.stdout).toMatch(/^WAVE +TAKES +SOAKS +DEVICES +OFFLINE +SERVICES +OPENS NOT BEFORE/m);
    expect(plan.stdout).toMatch(/^ {2}- activation waits until 100 % of the reachable targets/m);
    expect(plan.stdout).toMatch(/^registered and never enrolled +\d+ +bulk-00, .* and \d+ more$/m);
    expect((await cli('rollout', 'plan', 'report-mac', '--all')).stdout).toMatch(/bulk-50/);
    expect((await cli('rollout', 'plan', '--trust')).stdout).toMatch(/^what +trust bundle 2 after 1$/m);
    const campaign = await cli('rollout', 'plan', '--re-enrol', '--cause', 'policy', '--site', 'reno');
    expect(campaign.stdout).toMatch(/^what +re-enrolment \(policy\)/m);
    expectRefused(await cli('rollout', 'plan'), 2, 'input.invalid', /a key set, --trust or --re-enrol/);
    expectRefused(await cli('rollout', 'plan', 'report-mac', '--trust'), 2, 'input.invalid', /one thing/);
    expectRefused(await cli('rollout', 'plan', '--re-enrol'), 2, 'input.invalid', /--cause/);
    expectRefused(await cli('rollout', 'plan', 'report-mac', '--plan', 'gone'), 11, 'rollout.plan-not-found', /gone/);
  });

  test('given a start time, then the rollout waits for it, is paused by one person, and goes on by two', async () => {
    const asked = await json(
      Asked,
      ...engineer,
      'rotate',
      'report-mac',
      '--start-at',
      '2126-01-01T02:00:00+02:00',
      '--yes',
      '--no-wait',
    );
    expect((await approvedNow(asked)).exitCode).toBe(0);
    const { id } = await json(Id, 'rollout', 'show', 'report-mac');
    expect((await cli('rollout', 'show', id)).stdout).toMatch(
      /^ {2}- it has not begun, until 2126-01-01T00:00:00\.000Z$/m,
    );
    expect((await cli('rollout', 'list', '--open')).stdout).toMatch(
      new RegExp(`^${id} +report-mac: version 1 to 2 +approved +default `, 'm'),
    );
    expect((await cli(...engineer, 'rollout', 'pause', id.slice(0, 8), '--reason', 'tournament')).stdout).toBe(
      `${id} is paused\n`,
    );
    expect((await cli('rollout', 'show', id)).stdout).toMatch(/^paused +.* by device-engineer: tournament/m);
    expectRefused(
      await cli(...engineer, 'rollout', 'pause', id, '--reason', 'again'),
      11,
      'rollout.state-refused',
      /has paused it already/,
    );
    const resume = await json(Asked, ...engineer, 'rollout', 'resume', id);
    expect((await approvedNow(resume)).exitCode).toBe(0);
    expect((await cli('rollout', 'show', id)).stdout).not.toMatch(/^paused /m);
  });

  test('given a rollout under way, then another of the same waits or supersedes it, and it can be aborted', async () => {
    const rotate = [...engineer, 'rotate', 'report-mac', '--yes', '--no-wait'];
    const refused = await cli(...rotate, '--json');
    expect(refused).toMatchObject({ exitCode: 11, stderr: '' });
    expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'keyset.rotation-under-way' } });
    const asked = await json(Asked, ...rotate, '--supersede', '--start-at', '2126-01-01T00:00:00Z');
    expect((await approvedNow(asked)).exitCode).toBe(0);
    const { id } = await json(Id, 'rollout', 'show', 'report-mac');
    expect((await cli('rollout', 'list')).stdout).toMatch(/report-mac: version 1 to 2 +superseded /);
    const abort = [...engineer, 'rollout', 'abort', id, '--reason', 'wrong quarter'] as const;
    expect((await cli(...abort)).stdout).toBe(`${id} is aborted\n`);
    expectRefused(await cli(...abort), 11, 'rollout.state-refused', /is aborted/);
    expect((await cli('rollout', 'watch', id)).stdout).toMatch(/report-mac: version 1 to 3 is aborted/);
  });

  test('given devices that are named, then each must be a target; stragglers are those of an active rollout', async () => {
    expectRefused(
      await cli(...engineer, 'rollout', 'exempt', 'wallet-kek', 'egm-1', '--reason', 'sold'),
      11,
      'device.not-found',
      /egm-1 is not a target/,
    );
    expectRefused(await cli(...engineer, 'rollout', 'retry', 'wallet-kek'), 11, 'rollout.state-refused', /has failed/);
    const signOff = [...engineer, 'rollout', 'sign-off', 'wallet-kek', '--reason', 'scrapped'] as const;
    expectRefused(await cli(...signOff), 2, 'input.invalid', /name the devices, or pass --stragglers/);
    expectRefused(await cli(...signOff, '--stragglers'), 11, 'rollout.state-refused', /no device is behind/);
  });

  test('given a history, then its steps, none for a device that was never a target; an unknown one is refused', async () => {
    const none = await cli('device', 'history', 'egm-1');
    expect(none).toMatchObject({ exitCode: 0 });
    expect(none.stdout).toMatch(/^AT +ROLLOUT +STEP .*\n0 steps\n$/);
    expectRefused(await cli('device', 'history', 'ghost'), 11, 'device.not-found', /ghost/);
    expect((await cli('rollout', 'history', 'wallet-kek', '--limit', '5')).stdout).toMatch(/^\d+ steps?$/m);
  });

  test('given a campaign, then an approver sees the time it is about; an unknown cause is a usage error', async () => {
    const campaign = [...engineer, 'campaign', '--reason', 'shorter validity', '--yes', '--no-wait'] as const;
    const asked = await json(Asked, ...campaign, '--cause', 'policy', '--label', 'bank=A');
    expect((await cli('approval', 'show', asked.approval.id)).stdout).toMatch(/"before": "\d{4}-/);
    expect((await cli('approval', 'refuse', asked.approval.id)).exitCode).toBe(0);
    expect((await cli(...campaign, '--cause', 'whim')).exitCode).toBe(2);
    expectRefused(await cli(...campaign, '--cause', 'policy', '--label', 'bank'), 2, 'input.invalid', /NAME=VALUE/);
  });

  test('given a compromised version, then its successor is on its way at once; an unknown version is refused', async () => {
    const compromise = [...engineer, 'keyset', 'compromise', 'report-mac'] as const;
    expectRefused(await cli(...compromise, '9', '--reason', 'leak'), 11, 'keyset.version-not-found', /no version 9/);
    expect((await cli(...compromise, 'one', '--reason', 'leak')).exitCode).toBe(2);
    expect((await cli(...compromise, '1', '--reason', 'leak')).stdout).toMatch(
      /^version 1 of report-mac is compromised/,
    );
    expect((await cli('rollout', 'list')).stdout).toMatch(/report-mac: version 1 to 4 +\w+ +expedited /);
    expect((await cli('keyset', 'show', 'report-mac')).stdout).toMatch(/^ +1 +(?:active \()?compromised/m);
  });
});

describe('policy', () => {
  const changed = (): string => {
    const before = readFileSync(path.join(data, 'policy.yaml'), 'utf8');
    return file('policy.yaml', before.replace('grace: 7d', 'grace: 8d'));
  };

  test('given no terminal and no --yes, then the difference is shown, nothing is asked for, and the exit code is 2', async () => {
    const { exitCode, stdout, stderr } = await cli('apply', changed());
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^ {2}~ classes\.service\.grace: /m);
    expect(stderr).toMatch(/pass --yes to go on/);
    expect((await json(Items, 'approval', 'list', '--state', 'pending')).items).toEqual([]);
  });

  test('given --yes, then an approver is asked, sees the difference, and the policy comes into force', async () => {
    const asked = await json(Asked, 'apply', changed(), '--yes');
    const shown = await cli('approval', 'show', asked.approval.id);
    expect(shown.stdout).toMatch(/what it changes:\n {2}~ classes\.service\.grace/);
    expect((await cli('approval', 'approve', asked.approval.id, '--yes')).exitCode).toBe(0);
    expect((await cli('apply', changed())).stdout).toMatch(/changes nothing\n$/);
    expect((await cli('apply', path.join(data, 'policy.yaml'), '--dry-run')).stdout).toMatch(
      /~ classes\.service\.grace/,
    );
  });

  test('given a policy with an unknown key, then the key is named', async () => {
    const bad = file('bad.yaml', 'version: 1\nclasses: {}\nfleet: 1\n');
    expectRefused(await cli('apply', bad, '--yes'), 3, 'config.invalid', /fleet/);
  });
});

describe('operators', () => {
  test('given a new operator, then the token is in a file of its owner alone and works once approved', async () => {
    const asked = await json(Asked, 'operator', 'add', 'zoe', '--role', 'auditor');
    const token = path.join(data, 'operators', 'zoe.token');
    expect(statSync(token).mode & 0o777).toBe(0o600);
    expectRefused(await cli('--as', 'zoe', 'status'), 9, 'operator.unauthenticated', /token/);
    const request = await cli('approval', 'show', asked.approval.id);
    expect(request.stdout).not.toContain(readFileSync(token, 'utf8').trim());
    expect((await cli('approval', 'approve', asked.approval.id, '--yes')).exitCode).toBe(0);
    expect((await cli('--as', 'zoe', 'status')).stdout).toMatch(/^realm +test$/m);
    expect((await cli('operator', 'list')).stdout).toMatch(/^zoe +auditor /m);
    expectRefused(
      await cli('operator', 'add', 'zoe', '--role', 'auditor'),
      9,
      'operator.exists',
      /zoe\.token is there already/,
    );
    rmSync(token);
  });

  test('given a role that is filled, then it cannot be founded again', async () => {
    expectRefused(
      await cli('operator', 'add', 'zed', '--role', 'approver', '--found'),
      10,
      'approval.required',
      /approver already/,
    );
    expect(existsSync(path.join(data, 'operators', 'zed.token'))).toBe(false);
  });

  test('given a token that others may read, a wrong one, or none, then it is told which', async () => {
    const good = readFileSync(path.join(data, 'operators', 'auditor.token'), 'utf8');
    expect((await cli('--token-file', file('own.token', good), 'status')).exitCode).toBe(0);
    expectRefused(
      await cli('--token-file', file('open.token', good, 0o644), 'status'),
      3,
      'config.invalid',
      /mode 644.*chmod 600/,
    );
    expectRefused(
      await cli('--token-file', file('wrong.token', 'croupier_wrong'), 'status'),
      9,
      'operator.unauthenticated',
      /wrong/,
    );
    expectRefused(
      await cli('--token-file', file('empty.token', '\n'), 'status'),
      3,
      'config.invalid',
      /holds no token/,
    );
    expectRefused(await cli('--as', 'nobody', 'status'), 3, 'config.missing', /nobody\.token/);
  });

  test('given a role that may not, or several that may, then it is told who may', async () => {
    expectRefused(
      await cli('--as', 'auditor', 'rotate', 'wallet-kek'),
      9,
      'operator.forbidden',
      /key-admin or device-engineer/,
    );
    expectRefused(
      await cli('device', 'quarantine', 'egm-2', '--reason', 'x'),
      2,
      'input.invalid',
      /--as: device-engineer \(device-engineer\), key-admin \(key-admin\)/,
    );
  });
});

describe('containment', () => {
  test('given a device that is quarantined by one person, then its release takes another', async () => {
    const engineer = ['--as', 'device-engineer'] as const;
    expect((await cli(...engineer, 'device', 'quarantine', 'egm-2', '--reason', 'door open')).stdout).toBe(
      'egm-2 is quarantined\n',
    );
    expect(await deviceIds('--state', 'quarantined')).toEqual(['egm-2']);
    expectRefused(await cli('device', 'ticket', 'egm-2'), 11, 'device.state-refused', /egm-2 is quarantined/);
    const asked = await json(Asked, ...engineer, 'device', 'release', 'egm-2', '--reason', 'checked');
    expect(await deviceIds('--state', 'quarantined')).toEqual(['egm-2']);
    expect((await cli('approval', 'approve', asked.approval.id, '--yes')).exitCode).toBe(0);
    expect(await deviceIds('--state', 'quarantined')).toEqual([]);
    expect(await json(Done, ...engineer, 'device', 'revoke', 'egm-2', '--reason', 'sold')).toMatchObject({
      result: { state: 'revoked' },
    });
  });
});

describe('audit', () => {
  test('given an export, then it verifies far from the gateway, and not when a record was altered', async () => {
    const trail = path.join(directory, 'trail.jsonl');
    expect((await cli('audit', 'export', trail)).exitCode).toBe(0);
    expect(statSync(trail).mode & 0o777).toBe(0o600);
    const root = path.join(data, 'ca', 'root.pem');
    const away = path.join(directory, 'elsewhere');
    const verified = await croupier('--data', away, 'audit', 'verify', trail, '--root', root);
    expect(verified.stdout).toMatch(/^audit trail +verified$/m);
    expect((await croupier('--data', away, 'audit', 'verify', trail)).stdout).toContain("the file's own");
    const lines = readFileSync(trail, 'utf8').trimEnd().split('\n');
    expect((await cli('audit', 'export')).stdout.split('\n').length).toBeGreaterThanOrEqual(lines.length);
    const altered = lines.map((line, index) => (index === 3 ? line.replace('"success"', '"denied"') : line));
    expect(altered).not.toEqual(lines);
    expectRefused(await cli('audit', 'verify', file('altered.jsonl', altered.join('\n'))), 8, 'audit.broken', /line 4/);
    expectRefused(
      await cli('audit', 'verify', file('short.jsonl', lines.slice(0, -2).join('\n'))),
      8,
      'audit.broken',
      /exported up to/,
    );
    const other = path.join(data, 'ca', 'device-ca.pem');
    expectRefused(await cli('audit', 'verify', trail, '--root', other), 8, 'trust.root-mismatch', /names the root/);
    expect((await cli('audit', 'verify')).stdout).toMatch(/^audit trail +verified$/m);
  });
});

describe('trust', () => {
  test('given an anchor for a purpose of the operator, then it is in the next bundle', async () => {
    const anchor = `firmware=${path.join(data, 'ca', 'root.pem')}`;
    const asked = await json(Asked, '--as', 'key-admin', 'trust', 'publish', '--anchor', anchor);
    expect((await cli('approval', 'approve', asked.approval.id, '--yes')).exitCode).toBe(0);
    expect((await cli('trust', 'show', '2')).stdout).toMatch(/^firmware +Croupier Root CA /m);
    expect((await cli('trust', 'show')).stdout).toMatch(/^ +2 .*firmware 1/m);
    expectRefused(await cli('trust', 'show', '9'), 8, 'trust.not-found', /9/);
    expectRefused(await cli('trust', 'publish', '--anchor', 'firmware'), 2, 'input.invalid', /PURPOSE=FILE/);
  });
});

describe('output for programs', () => {
  test.each([
    ['status'],
    ['device', 'list'],
    ['device', 'show', 'egm-1'],
    ['device', 'requests'],
    ['keyset', 'list'],
    ['keyset', 'show', 'wallet-kek'],
    ['rollout', 'list'],
    ['rollout', 'show', 'wallet-kek', '--targets'],
    ['rollout', 'watch', 'wallet-kek'],
    ['trust', 'show'],
    ['trust', 'show', '1'],
    ['approval', 'list'],
    ['operator', 'list'],
    ['audit', 'verify'],
    ['doctor'],
  ])('given %s %s %s --json, then there is one document', async (...args) => {
    expect(await json(z.looseObject({}), ...args.filter((arg) => typeof arg === 'string'))).toBeTruthy();
  });

  test('given a refusal with --json, then it is the document', async () => {
    const { exitCode, stdout, stderr } = await cli('device', 'show', 'ghost', '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 11, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'device.not-found', message: expect.stringContaining('ghost'), remedy: expect.any(String) },
    });
  });

  test.each([
    ['no command', []],
    ['an unknown command', ['deal']],
    ['an unknown option', ['status', '--loud']],
    ['an option without its value', ['--as']],
    ['a choice that does not exist', ['device', 'list', '--state', 'lost']],
    ['a missing reason', ['device', 'revoke', 'egm-1']],
    ['a port that cannot be', ['gateway', '--est-port', '70000']],
  ])('given %s, then the exit code is 2, in words or as a document', async (_, args) => {
    const told = await cli(...args);
    expect(told).toMatchObject({ exitCode: 2, stdout: '' });
    expect(told.stderr).toMatch(/error: |Usage: /);
    const document = await cli('--json', ...args);
    expect({ exitCode: document.exitCode, stderr: document.stderr }).toEqual({ exitCode: 2, stderr: '' });
    expect(JSON.parse(document.stdout)).toMatchObject({ error: { code: 'input.invalid' } });
  });
});

describe('as a program of its own, by plain node', () => {
  const program = (...args: readonly string[]): Promise<Ended> => croupierProgram('--data', data, ...args);

  test('given a view, a refusal and a stream, then output and exit codes are those of the command line', async () => {
    expect(await program('keyset', 'list')).toEqual(await cli('keyset', 'list'));
    expectRefused(await program('device', 'show', 'ghost'), 11, 'device.not-found', /ghost/);
    expect((await program('audit', 'verify', '--json')).stdout).toMatch(/^\{.*\}\n$/);
    expect(await program('rollout', 'watch', 'wallet-kek')).toMatchObject({ exitCode: 0 });
  });
});

describe('finding the gateway', () => {
  const remote = (port: number, ...args: readonly string[]): Promise<Ended> =>
    cli('--api', `https://localhost:${port}`, ...args);

  test('given its address and root, then it is found without a data directory', async () => {
    const token = path.join(data, 'operators', 'auditor.token');
    const args = [
      '--data',
      path.join(directory, 'nothing'),
      '--api',
      `https://127.0.0.1:${gateway.run.ports.api}`,
      '--token-file',
      token,
    ] as const;
    expect((await croupier(...args, '--ca', path.join(data, 'ca', 'root.pem'), 'status')).exitCode).toBe(0);
    expectRefused(await croupier(...args, 'status'), 3, 'config.missing', /--ca FILE/);
    expectRefused(
      await croupier(...args, '--ca', path.join(data, 'ca', 'device-ca.pem'), 'status'),
      8,
      'certificate.untrusted',
      /is not that of this realm's gateway/,
    );
  });

  test('given an address where it is not, then that is told', async () => {
    expectRefused(await remote(1, 'status'), 5, 'network.unreachable', /no gateway answers on localhost:1/);
    expectRefused(await remote(gateway.run.ports.public, 'status'), 5, 'network.unreachable', /does not speak TLS/);
    expectRefused(await remote(gateway.run.ports.est, 'status'), 5, 'network.unreachable', /not as a gateway does/);
    expectRefused(await cli('--api', 'localhost:1', 'status'), 2, 'input.invalid', /is not an address/);
  });

  test('given a data directory without a gateway, then it says how to start one', async () => {
    const nothing = path.join(directory, 'nothing');
    expectRefused(await croupier('--data', nothing, 'status'), 5, 'network.unreachable', /croupier gateway --data/);
    expectRefused(await croupier('--data', nothing, 'gateway'), 3, 'config.missing', /croupier init/);
    expectRefused(await cli('gateway'), 7, 'data.in-use', /uses/);
    expectRefused(await cli('init'), 3, 'data.initialised', /holds a realm already/);
  });
});
