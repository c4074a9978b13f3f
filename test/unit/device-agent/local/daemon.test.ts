import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { askAgent } from '#agent/local/socket-client.ts';

const main = fileURLToPath(new URL('../../../../device-agent/main.ts', import.meta.url));
const UNREACHABLE = 'https://127.0.0.1:1';

let base: string;
let data: string;
let ticketPath: string;
const running: ChildProcess[] = [];
const servers: Server[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'croupier-daemon-'));
  data = join(base, 'data');
  ticketPath = join(base, 'ticket');
  writeTicket({});
});
afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(base, { recursive: true });
});

function writeTicket(fields: object): void {
  const ticket = {
    v: 1,
    type: 'ticket',
    realm: 'test',
    device: 'egm-0001',
    code: 'ABCDE-FGHJK-MNPQR-STVWX',
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    est: UNREACHABLE,
    mqtt: 'mqtts://127.0.0.1:1',
    public: 'http://127.0.0.1:1',
    root: 'ab'.repeat(32),
    ...fields,
  };
  writeFileSync(ticketPath, JSON.stringify(ticket), { mode: 0o600 });
  chmodSync(ticketPath, 0o600);
}

interface Daemon {
  readonly child: ChildProcess;
  readonly ended: Promise<{ exitCode: number | null; stdout: string; stderr: string }>;
}

function run(...args: string[]): Daemon {
  const child = spawn(process.execPath, [main, 'run', '--data', data, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'close').then(() => ({ exitCode: child.exitCode, stdout, stderr }));
  return { child, ended };
}

const socket = (): string => join(data, 'run', 'agent.sock');
const health = (path = socket()): Promise<unknown> =>
  askAgent(path, '/health', { accept: [200, 503] }).then(
    ({ document }) => document,
    () => 'no answer',
  );
const isUp = (path = socket()): Promise<void> =>
  expect.poll(() => health(path), { timeout: 20_000 }).toMatchObject({ status: 'not-enrolled' });

/** A gateway's EST listener that knows its root and refuses every code. */
async function refusingGateway(): Promise<{ url: string; root: string; credentials: string[] }> {
  const credentials: string[] = [];
  const at = (name: string): string => join(base, name);
  writeFileSync(at('openssl.cnf'), '[req]\ndistinguished_name = dn\n[dn]\n');
  const certify = (name: string, subject: string, ...args: string[]): void => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at(`${name}.key`)];
    const request = [
      'req',
      '-x509',
      '-config',
      at('openssl.cnf'),
      ...key,
      '-out',
      at(`${name}.crt`),
      '-days',
      '2',
      '-subj',
      subject,
    ];
    execFileSync(
      'openssl',
      [...request, ...args.flatMap((arg) => (arg.startsWith('-') ? arg.split(' ') : ['-addext', arg]))],
      { stdio: 'pipe' },
    );
  };
  certify('root', '/CN=Root', 'basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign');
  const issuer = [`-CA ${at('root.crt')}`, `-CAkey ${at('root.key')}`];
  const forServers = [
    'subjectAltName=IP:127.0.0.1',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=serverAuth',
  ];
  certify('server', '/CN=127.0.0.1', ...issuer, ...forServers);
  const der = execFileSync('openssl', ['crl2pkcs7', '-nocrl', '-certfile', at('root.crt'), '-outform', 'DER']);
  const server = createServer(
    { key: readFileSync(at('server.key')), cert: readFileSync(at('server.crt')) },
    (request, response) => {
      request.resume();
      if (request.headers.authorization !== undefined) credentials.push(request.headers.authorization);
      if (request.url?.endsWith('/cacerts') === true) {
        response.writeHead(200, { 'content-type': 'application/pkcs7-mime', 'content-transfer-encoding': 'base64' });
        response.end(der.toString('base64'));
      } else if (request.url?.endsWith('/csrattrs') === true) {
        response.writeHead(204).end();
      } else {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
      }
    },
  );
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const root = createHash('sha256')
    .update(new X509Certificate(readFileSync(at('root.crt'))).raw)
    .digest('hex');
  return { url: `https://127.0.0.1:${port}`, root, credentials };
}

describe('given a gateway that cannot be reached', () => {
  test('then the agent serves its applications all the same, and ends in order at a signal', async () => {
    const { child, ended } = run('--ticket', ticketPath, '--export', join(base, 'export'), '--json');
    await isUp();
    expect(await health()).toMatchObject({
      trustVersion: 0,
      problem: { activity: 'enrol', code: 'network.unreachable' },
    });
    expect(readdirSync(join(base, 'export', 'current'))).toEqual(['agent.json']);
    expect(statSync(data).mode & 0o777).toBe(0o700);
    child.kill('SIGTERM');
    const { exitCode, stdout, stderr } = await ended;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    for (const line of stdout.trimEnd().split('\n'))
      expect(JSON.parse(line)).toMatchObject({ level: expect.any(String), msg: expect.any(String) });
    expect(stdout).not.toContain('ABCDE-FGHJK');
    expect(existsSync(socket())).toBe(false);
  });

  test('when the agent is killed, then the next one starts without repair, on another socket if told', async () => {
    const first = run('--ticket', ticketPath);
    await isUp();
    first.child.kill('SIGKILL');
    await first.ended;
    expect(existsSync(socket())).toBe(true);
    const second = run('--ticket', ticketPath);
    await isUp();
    second.child.kill('SIGINT');
    expect((await second.ended).exitCode).toBe(0);
    const elsewhere = join(base, 'apps', 'a.sock');
    run('--ticket', ticketPath, '--socket', elsewhere);
    await isUp(elsewhere);
  });

  test('when a second agent is started on the same data, then it is refused even with another socket, and the first goes on', async () => {
    run('--ticket', ticketPath);
    await isUp();
    const { exitCode, stderr } = await run('--ticket', ticketPath, '--socket', join(base, 'apps', 'b.sock')).ended;
    expect(exitCode).toBe(7);
    expect(stderr).toMatch(/code: agent\.running/);
    expect(await health()).toMatchObject({ status: 'not-enrolled' });
  });

  test('when an application is busy, then a killed agent remembers it', async () => {
    const first = run('--ticket', ticketPath);
    await isUp();
    await askAgent(socket(), '/busy', { method: 'PUT', body: { seconds: 600, reason: 'credits on the meter' } });
    first.child.kill('SIGKILL');
    await first.ended;
    run('--ticket', ticketPath);
    await isUp();
    expect(await health()).toMatchObject({ busy: [{ reason: 'credits on the meter' }] });
  });
});

describe('given a ticket that the gateway refuses', () => {
  test('when the code is wrong or used, then the agent ends and says what to do', async () => {
    const { url, root, credentials } = await refusingGateway();
    writeTicket({ est: url, root });
    const { exitCode, stderr } = await run('--ticket', ticketPath).ended;
    expect(exitCode).toBe(4);
    expect(credentials).toEqual([`Basic ${btoa('egm-0001:ABCDE-FGHJK-MNPQR-STVWX')}`]);
    expect(stderr).toMatch(/^error: .*\nwhat to do: Issue a new ticket.*\ncode: enrolment\.code-invalid$/m);
    expect(stderr).not.toContain('ABCDE-FGHJK');
  });

  test('when the gateway has another root than the ticket, then the agent ends before it gives the code away', async () => {
    const { url, credentials } = await refusingGateway();
    writeTicket({ est: url });
    const { exitCode, stdout } = await run('--ticket', ticketPath, '--json').ended;
    expect(exitCode).toBe(8);
    expect(credentials).toEqual([]);
    expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      error: { code: 'trust.root-mismatch' },
    });
  });
});

describe('given something that keeps the agent from starting', () => {
  const cases: [string, number, string, () => string[]][] = [
    ['no ticket for a device that is not enrolled', 4, 'agent.not-enrolled', () => []],
    ['a ticket file that is not there', 3, 'config.missing', () => ['--ticket', join(base, 'none')]],
    [
      'a ticket that others can read',
      4,
      'ticket.invalid',
      () => (chmodSync(ticketPath, 0o644), ['--ticket', ticketPath]),
    ],
    [
      'a ticket that has expired',
      4,
      'ticket.invalid',
      () => (writeTicket({ expiresAt: '2020-01-01T00:00:00.000Z' }), ['--ticket', ticketPath]),
    ],
    [
      'a data directory open to others',
      3,
      'config.invalid',
      () => (mkdirSync(data, { mode: 0o755 }), ['--ticket', ticketPath]),
    ],
    [
      'a socket in a directory open to others',
      3,
      'config.invalid',
      () => (chmodSync(base, 0o755), ['--ticket', ticketPath, '--socket', join(base, 's')]),
    ],
    [
      'a storage key that is not there',
      6,
      'agent.state-corrupt',
      () => ['--ticket', ticketPath, '--storage-key-file', join(base, 'none')],
    ],
  ];
  test.each(cases)('when it is %s, then the exit code is %i and the code %s', async (_, expected, code, args) => {
    const { exitCode, stdout, stderr } = await run(...args()).ended;
    expect(stderr).toMatch(new RegExp(`^error: .+\\nwhat to do: .+\\ncode: ${code.replace('.', '\\.')}$`, 'm'));
    expect({ exitCode, stdout }).toEqual({ exitCode: expected, stdout: '' });
  });
});
