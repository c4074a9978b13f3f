/** The configuration file: TOML, unknown keys are errors, paths are relative to the data directory. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse as parseToml, stringify as printToml } from 'smol-toml';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { Config, type ConfigDocument } from '#schema/config.ts';
import { parseWith } from '#schema/parse.ts';
import { writePrivateFile, type DataDirectory } from './data-directory.ts';

/** Errors: `config.missing`, `config.invalid` naming the key. */
export async function loadConfig(data: DataDirectory): Promise<Config> {
  let text: string;
  try {
    text = await readFile(data.config, 'utf8');
  } catch (error) {
    throw new CroupierError(
      'config.missing',
      `there is no configuration ${data.config}; run croupier init --data ${data.root}`,
      { cause: error },
    );
  }
  let document: unknown;
  try {
    document = parseToml(text);
  } catch (error) {
    throw new CroupierError(
      'config.invalid',
      `${data.config} is not TOML: ${errorMessage(error).split('\n')[0] ?? ''}`,
      { cause: error },
    );
  }
  return resolveConfig(data, document);
}

/** A configuration document with its defaults and absolute paths. Errors: `config.invalid` naming the key. */
export function resolveConfig(data: DataDirectory, document: unknown): Config {
  const config = parseWith(Config, document, 'config.invalid', data.config);
  const within = (file: string): string => path.resolve(data.root, file);
  return {
    ...config,
    hsm: { ...config.hsm, pinFile: within(config.hsm.pinFile) },
    store: { ...config.store, path: within(config.store.path) },
    webhooks: config.webhooks.map((webhook) => ({
      ...webhook,
      secretFile: within(webhook.secretFile),
      ...(webhook.ca === undefined ? {} : { ca: within(webhook.ca) }),
    })),
  };
}

const HEADER =
  '# Croupier. Every key with its default: docs/configuration.md. Paths are relative to this directory.\n\n';

export async function writeConfig(data: DataDirectory, document: ConfigDocument): Promise<void> {
  await writePrivateFile(data.config, HEADER + printToml(document));
}
