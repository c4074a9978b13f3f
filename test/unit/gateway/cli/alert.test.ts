/** Alerts and webhooks of a gateway by plain node: one receiver listens, the other is gone. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startReceiver, type Receiver } from '#test/support/webhook-receiver.ts';
import { croupier, initialiseRealm, startGatewayProgram, type Ended, type RunningProgram } from './programs.ts';

let directory: string;
let data: string;
let receiver: Receiver;
let gateway: RunningProgram;

beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'croupier-cli-alert-'));
  data = path.join(directory, 'var');
  await initialiseRealm(data);
  receiver = await startReceiver();
  const gone = await startReceiver();
  await gone.close();
  writeFileSync(path.join(data, 'hook.secret'), randomBytes(32).toString('base64'), { mode: 0o600 });
  const hook = (name: string, url: string, events: string): string =>
    `\n[[webhooks]]\nname = "${name}"\nurl = "${url}"\nsecretFile = "hook.secret"\nevents = ${events}\nmaxAge = "1ms"\n`;
  appendFileSync(
    path.join(data, 'croupier.toml'),
    hook('chat', receiver.url, '["alert.*"]') + hook('lost', gone.url, '["gateway.start"]'),
  );
  gateway = await startGatewayProgram(data);
});
afterAll(async () => {
  const code = await gateway.stop();
  await receiver.close();
  rmSync(directory, { recursive: true });
  expect(code).toBe(0);
});

const cli = (...args: readonly string[]): Promise<Ended> => croupier('--data', data, ...args);

const Alerts = z.object({ items: z.array(z.object({ id: z.int(), code: z.string(), severity: z.string() })) });

async function alerts(...args: readonly string[]): Promise<z.infer<typeof Alerts>['items']> {
  const { stdout } = await cli('--json', 'alert', 'list', ...args);
  return Alerts.parse(JSON.parse(stdout)).items;
}

test('given a webhook that fails, then another one tells of its alert, which is listed, counted, and closed with a note', async () => {
  const [delivery] = await receiver.received(1);
  expect(delivery?.payload).toMatchObject({
    type: 'webhook.failed',
    data: { object: { type: 'webhook', id: 'lost' } },
    alert: { code: 'webhook.failed', severity: 'warning' },
  });
  const open = await alerts();
  expect(open).toMatchObject([{ code: 'webhook.failed', severity: 'warning' }]);
  const id = String(open[0]?.id);
  expect((await cli('alert', 'list')).stdout).toMatch(
    /^ +\d+ +warning +webhook\.failed .* lost: A webhook was not taken/m,
  );
  expect((await cli('status')).stdout).toMatch(/^open alerts +1 warning$/m);

  expect(await cli('--as', 'device-engineer', 'alert', 'acknowledge', id)).toMatchObject({ exitCode: 2 });
  expect(await cli('--as', 'auditor', 'alert', 'acknowledge', id, '--note', 'x')).toMatchObject({ exitCode: 9 });
  expect(await cli('--as', 'device-engineer', 'alert', 'acknowledge', id, '--note', 'mended')).toEqual({
    exitCode: 0,
    stdout: `acknowledged: alert ${id}\n`,
    stderr: '',
  });
  const again = await cli('--as', 'key-admin', 'alert', 'acknowledge', id, '--note', 'mended');
  expect(again.exitCode).toBe(11);
  expect(again.stderr).toContain(`alert ${id} was acknowledged by device-engineer`);
  expect(await alerts()).toEqual([]);
  expect(await alerts('--all')).toHaveLength(1);
  expect((await cli('alert', 'list', '--all')).stdout).toMatch(/ device-engineer +lost: /);
  expect((await cli('status')).stdout).toMatch(/^open alerts +0$/m);
  await receiver.received(2);
  expect(receiver.deliveries[1]?.payload.type).toBe('alert.acknowledge');
});

test.each(['0', 'x', '-1', '1.5'])('given %s for the number of an alert, then it is a usage error', async (id) => {
  expect(await cli('alert', 'acknowledge', '--note', 'x', '--', id)).toMatchObject({ exitCode: 2 });
});
