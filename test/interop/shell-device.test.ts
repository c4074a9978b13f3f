/**
 * docs/device.sh as a device engineer would use it: a gateway run by the command line, and a device that is nothing but
 * openssl, curl and mosquitto. It proves that every message opens with stock tools, for EC and RSA devices.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { DeviceDetailView } from '#schema/api/views/devices.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const croupier = path.join(root, 'bin', 'croupier');
const script = path.join(root, 'docs', 'device.sh');

/** The script says hello on one connection and listens on the next: the gateway repeats its answer soon. */
const POLICY = `version: 1
classes:
  egm: { keyTypes: [EC-P256, RSA-2048], validity: 365d }
keySets:
  wallet-kek: { algorithm: AES-256, use: wrap, scope: shared }
  report-mac: { algorithm: HMAC-SHA256, use: mac, scope: per-device }
delivery: { resendAfter: 1s, resendMax: 10s }
`;

let directory: string;
let data: string;
let gateway: ChildProcess;

const cli = async (...args: readonly string[]): Promise<string> =>
  (await run(croupier, ['--data', data, ...args])).stdout;

async function versionsOf(device: string): Promise<readonly string[]> {
  const shown = DeviceDetailView.parse(JSON.parse(await cli('--json', 'device', 'show', device)));
  return shown.keys.map(({ keySet, version, state }) => `${keySet}/${version} ${state}`);
}

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'croupier-shell-'));
  data = path.join(directory, 'data');
  const policy = path.join(directory, 'policy.yaml');
  await writeFile(policy, POLICY);
  await cli('init', '--realm', 'shell', '--operator', 'Example Casino', '--name', 'localhost', '--policy', policy);
  const ports = ['--est-port', '0', '--mqtt-port', '0', '--api-port', '0', '--public-port', '0'];
  gateway = spawn(croupier, ['--data', data, 'gateway', ...ports], { stdio: 'ignore' });
  await vi.waitFor(() => access(path.join(data, 'run.json')), { timeout: 20_000 });
  const inventory = path.join(directory, 'inventory.csv');
  await writeFile(inventory, 'id,class,site,serial\nEGM-EC,egm,main,1\nEGM-RSA,egm,main,2\nEGM-WRONG,egm,main,3\n');
  await cli('device', 'import', inventory);
  await cli('device', 'ticket', 'EGM-EC', 'EGM-RSA', 'EGM-WRONG', '--out', directory);
}, 60_000);

afterAll(async () => {
  const ended = new Promise((resolve) => gateway.once('exit', resolve));
  gateway.kill('SIGTERM');
  await ended;
  await rm(directory, { recursive: true });
});

describe('a device in shell', () => {
  test.each([
    ['EC', ''],
    ['RSA', '-algorithm RSA -pkeyopt rsa_keygen_bits:2048'],
  ])(
    'given a ticket and an %s key, when it enrols, receives and reports, then the gateway knows its keys as active',
    async (kind, options) => {
      const device = `EGM-${kind}`;
      const where = path.join(directory, kind);
      await run('sh', [script, path.join(directory, `${device}.ticket`), where], {
        env: { ...process.env, KEY_OPTIONS: options },
      });
      const key = await readFile(path.join(where, 'wallet-kek.key'));
      expect(key).toHaveLength(32);
      await vi.waitFor(
        async () => expect(await versionsOf(device)).toEqual(['report-mac/1 active', 'wallet-kek/1 active']),
        { timeout: 10_000 },
      );
    },
    60_000,
  );

  test('given a ticket whose root is another one, then it stops before it sends its code', async () => {
    const ticket: unknown = JSON.parse(await readFile(path.join(directory, 'EGM-WRONG.ticket'), 'utf8'));
    const forged = path.join(directory, 'forged.ticket');
    await writeFile(forged, JSON.stringify({ ...z.looseObject({}).parse(ticket), root: '0'.repeat(64) }));
    await expect(run('sh', [script, forged, path.join(directory, 'forged')])).rejects.toThrow(
      'the root is not the one of the ticket',
    );
    expect(await versionsOf('EGM-WRONG')).toEqual([]);
  });

  test('given the script, then it has at most 60 lines', async () => {
    const lines = (await readFile(script, 'utf8')).trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(60);
  });
});
