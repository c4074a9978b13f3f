/** `croupier trust import`: bundles that a restored gateway has lost, from whoever still holds them. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { decodePemAll } from '#pki/certificate/pem.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import type { Context, Outcome } from '../context.ts';
import { outcomeOf } from './answer.ts';
import type { Run } from './registration.ts';

export function registerTrustImport(trust: Command, run: Run): void {
  trust
    .command('import')
    .argument('<file...>', 'bundles, CMS in DER or PEM: from a device, a medium, or trust-links/ of a data directory')
    .description('take in trust bundles that a restored gateway has lost; each must follow the one before')
    .action(run((context, files: readonly string[]) => importBundles(context, files)));
}

/** DER of every bundle in a file, base64. Errors: `config.missing`, `message.malformed`. */
async function readBundles(file: string): Promise<readonly string[]> {
  const content = await readFile(file).catch((error: unknown) => {
    throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
  });
  if (!content.includes('-----BEGIN')) return [content.toString('base64')];
  const text = content.toString('utf8');
  const found = [...decodePemAll('CMS', text), ...decodePemAll('PKCS7', text)];
  if (found.length === 0) throw new CroupierError('message.malformed', `${file} holds no PEM block CMS or PKCS7`);
  return found.map((der) => Buffer.from(der).toString('base64'));
}

const Imported = z.object({ imported: z.array(TrustVersion), latest: TrustVersion.nullable() });

async function importBundles(context: Context, files: readonly string[]): Promise<Outcome> {
  const links = (await Promise.all(files.map(readBundles))).flat();
  const api = await context.connect('trust.import');
  const answer = await api.call('trust.import', { body: { links } });
  if (answer.state !== 'done') return outcomeOf(answer, '');
  const { imported, latest } = Imported.parse(answer.result);
  const taken = imported.length === 0 ? 'nothing was missing' : `taken in: ${imported.join(', ')}`;
  return outcomeOf(answer, `${taken}; the latest trust bundle is ${latest ?? 'none'}\n`);
}
