/** Free ports: looked for, and looked at before anything is made, so that a fault names the option to change. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { CroupierError } from '#schema/errors.ts';
import type { Ports } from './gateway.ts';

const OPTIONS: Readonly<Record<keyof Ports, string>> = {
  est: '--est-port',
  mqtt: '--mqtt-port',
  api: '--api-port',
  public: '--public-port',
};

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  server.once('error', (error) => ('code' in error && error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
  server.listen({ host, port, exclusive: true }, () => resolve(true));
  try {
    return await promise;
  } catch (error) {
    throw new CroupierError('port.in-use', `port ${port} on ${host} cannot be used`, { cause: error });
  } finally {
    server.close();
  }
}

/** Errors: `port.in-use` naming the options of all ports that are taken, `input.invalid` for one port named twice. */
export async function requireFreePorts(host: string, ports: Ports): Promise<void> {
  const named: readonly (readonly [string, number])[] = [
    [OPTIONS.est, ports.est],
    [OPTIONS.mqtt, ports.mqtt],
    [OPTIONS.api, ports.api],
    [OPTIONS.public, ports.public],
  ];
  const fixed = named.filter(([, port]) => port !== 0);
  const twice = fixed.find(([, port], index) => fixed.findIndex(([, other]) => other === port) !== index);
  if (twice !== undefined) throw new CroupierError('input.invalid', `${twice[0]}: port ${twice[1]} is named twice`);
  const taken: string[] = [];
  for (const [option, port] of fixed) if (!(await isFree(host, port))) taken.push(`${port} (${option})`);
  if (taken.length === 0) return;
  throw new CroupierError('port.in-use', `taken on ${host}: port ${taken.join(', ')}; another gateway may be running`);
}

/**
 * Below the range that systems take local ports from: somebody who keeps trying to reach a server that is down would in
 * the end connect to himself there.
 */
const LASTING_PORTS = { from: 12_000, to: 32_000 } as const;
const MOST_TRIES = 200;

/** Ports that a gateway can come back to after it was away. Errors: `port.in-use` when none is found. */
export async function lastingPorts(host: string): Promise<Ports> {
  const found: number[] = [];
  for (let tries = 0; found.length < 4 && tries < MOST_TRIES; tries += 1) {
    const port = randomInt(LASTING_PORTS.from, LASTING_PORTS.to);
    if (!found.includes(port) && (await isFree(host, port))) found.push(port);
  }
  const [est, mqtt, api, open] = found;
  if (est === undefined || mqtt === undefined || api === undefined || open === undefined) {
    throw new CroupierError(
      'port.in-use',
      `no four free ports on ${host} between ${LASTING_PORTS.from} and ${LASTING_PORTS.to}`,
    );
  }
  return { est, mqtt, api, public: open };
}
