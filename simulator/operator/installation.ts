/** What a data directory of a gateway tells to whoever owns it: where the gateway is, its root, the operators' tokens. */
import { X509Certificate, hash } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { parse as parseToml } from 'smol-toml';
import { Config, RunFile } from '#schema/config.ts';
import { CroupierError } from '#schema/errors.ts';
import { Sha256 } from '#schema/ids.ts';
import { parseJson, parseWith } from '#schema/parse.ts';
import type { GatewayAddresses } from '../floor/floor.ts';

export interface Installation {
  readonly directory: string;
  readonly config: Config;
  /** Root certificate, PEM. */
  readonly ca: string;
  /** SHA-256 of the root certificate (DER). */
  readonly root: Sha256;
  readonly tokens: readonly { readonly name: string; readonly token: string }[];
}

const configFile = (directory: string): string => join(directory, 'croupier.toml');

export async function isInitialised(directory: string): Promise<boolean> {
  return access(configFile(directory)).then(
    () => true,
    () => false,
  );
}

async function read(file: string, directory: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CroupierError(
      'config.missing',
      `${file} cannot be read; is ${directory} the data directory of a gateway?`,
      {
        cause: error,
      },
    );
  }
}

async function readTokens(directory: string): Promise<Installation['tokens']> {
  const folder = join(directory, 'operators');
  const files = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith('.token')).sort();
  return Promise.all(
    files.map(async (file) => ({
      name: basename(file, '.token'),
      token: (await read(join(folder, file), directory)).trim(),
    })),
  );
}

/** Errors: `config.missing`, `config.invalid`. */
export async function readInstallation(path: string): Promise<Installation> {
  const directory = resolve(path);
  const text = await read(configFile(directory), directory);
  const ca = await read(join(directory, 'ca', 'root.pem'), directory);
  let document: unknown;
  try {
    document = parseToml(text);
  } catch (error) {
    throw new CroupierError('config.invalid', `${configFile(directory)} is not TOML`, { cause: error });
  }
  const config = parseWith(Config, document, 'config.invalid', configFile(directory));
  const root = Sha256.parse(hash('sha256', new X509Certificate(ca).raw, 'hex'));
  return { directory, config, ca, root, tokens: await readTokens(directory) };
}

/** Where the gateway of this directory listens. Errors: `network.unreachable` when none runs. */
export async function readRun(directory: string): Promise<RunFile> {
  const file = join(directory, 'run.json');
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const remedy = `start one with bin/croupier --data ${directory} gateway`;
    throw new CroupierError('network.unreachable', `no gateway runs on ${directory}; ${remedy}`, { cause: error });
  });
  return parseJson(RunFile, text, 'config.invalid', file);
}

/** The name in URLs for devices, and in the gateway's certificate. */
export const gatewayName = ({ config }: Installation): string => config.names[0] ?? config.listen.host;

/** What devices are told: the same as in tickets. */
export function addressesOf(installation: Installation, { ports }: RunFile): GatewayAddresses {
  const name = gatewayName(installation);
  const host = name.includes(':') ? `[${name}]` : name;
  return {
    realm: installation.config.realm,
    est: `https://${host}:${ports.est}`,
    mqtt: `mqtts://${host}:${ports.mqtt}`,
    public: `http://${host}:${ports.public}`,
    root: installation.root,
  };
}
