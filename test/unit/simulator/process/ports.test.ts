import { createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lastingPorts, requireFreePorts } from '#simulator/process/ports.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

let server: Server;
let taken: number;
beforeAll(async () => {
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address: AddressInfo | string | null = server.address();
  taken = typeof address === 'object' && address !== null ? address.port : 0;
});
afterAll(() => server.close());

const FREE = { est: 0, mqtt: 0, api: 0, public: 0 };

test('given a port that is taken, then the refusal names it and the option that changes it', async () => {
  const error = await expectRefusal('port.in-use', () => requireFreePorts('127.0.0.1', { ...FREE, mqtt: taken }));
  expect(error.message).toContain(`${taken} (--mqtt-port)`);
});

test('given a port that is named twice, then that is refused', async () => {
  await expectRefusal('input.invalid', () => requireFreePorts('127.0.0.1', { ...FREE, est: 40_001, api: 40_001 }));
});

test('given free ports, then nothing is refused', async () => {
  await expect(requireFreePorts('127.0.0.1', FREE)).resolves.toBeUndefined();
});

test('given ports to come back to, then they are four, free, and none that a system gives to those who connect', async () => {
  const ports = await lastingPorts('127.0.0.1');
  expect(new Set(Object.values(ports)).size).toBe(4);
  for (const port of Object.values(ports)) expect(port).toBeLessThan(32_768);
  await expect(requireFreePorts('127.0.0.1', ports)).resolves.toBeUndefined();
});
