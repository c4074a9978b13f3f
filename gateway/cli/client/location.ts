/** Where the gateway is, and what its certificate is checked against. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import { parse as parseToml } from 'smol-toml';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import { readRunFile } from '#gateway/installation/run-file.ts';

export interface GatewayLocation {
  readonly host: string;
  readonly port: number;
  /** The name that the gateway's certificate must hold. */
  readonly serverName: string;
  /** Root certificate of the realm, PEM. */
  readonly ca: string;
  /** Process of a gateway on this machine. */
  readonly pid: number | undefined;
}

export interface LocationOptions {
  readonly data: string;
  /** Of a gateway on another machine. */
  readonly api?: string | undefined;
  readonly ca?: string | undefined;
}

const LOCAL_NAMES: readonly string[] = ['localhost', '127.0.0.1', '::1'];

/**
 * From `--api` and `--ca`, else from what the gateway wrote into its data directory. Errors: `input.invalid`,
 * `config.missing` (root certificate), `network.unreachable` when no gateway runs.
 */
export async function locateGateway({ data: directory, api, ca }: LocationOptions): Promise<GatewayLocation> {
  const data = dataDirectory(directory);
  const caFile = ca ?? path.join(data.ca, 'root.pem');
  if (api !== undefined) {
    const url = parseUrl(api);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    return { host, port: Number(url.port || '443'), serverName: host, ca: await readCa(caFile), pid: undefined };
  }
  const run = await readRunFile(data);
  return {
    host: reachable(run.host),
    port: run.ports.api,
    serverName: await certifiedName(data.config, reachable(run.host)),
    ca: await readCa(caFile),
    pid: run.pid,
  };
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw new CroupierError('input.invalid', `--api: ${text} is not an address such as https://gateway:9443`);
  }
  return url;
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CroupierError(
      'config.missing',
      `the root certificate ${file} cannot be read; pass the realm's root with --ca FILE`,
      { cause: error },
    );
  }
}

/** What listens on every address is reached on the local one. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

const Names = z.object({ names: z.array(z.string()).min(1) });

/** The gateway's certificate holds the names of the configuration, which need not hold the local address. */
async function certifiedName(config: string, host: string): Promise<string> {
  const names: readonly string[] = await readFile(config, 'utf8').then(
    (text) => Names.safeParse(parseTomlOrNothing(text)).data?.names ?? [],
    () => [],
  );
  if (names.length === 0 || names.includes(host)) return host;
  const local = LOCAL_NAMES.find((name) => names.includes(name));
  return local ?? names.find((name) => isIP(name) === 0) ?? names[0] ?? host;
}

/** A broken configuration is the concern of `croupier doctor` and of the gateway's next start. */
function parseTomlOrNothing(text: string): unknown {
  try {
    return parseToml(text);
  } catch {
    return undefined;
  }
}
