/** `croupier audit`: the trail as a file, and whether it holds. Verifying needs no gateway. */
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { decodePemAll } from '#pki/certificate/pem.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { Sha256 } from '#schema/ids.ts';
import { linesOf } from '#gateway/audit/lines.ts';
import {
  createExportVerifier,
  verifyExport,
  type ExportTrust,
  type ExportVerification,
} from '#gateway/audit/verify-export.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, type Cell } from '../output/table.ts';
import type { Paint } from '../output/text.ts';
import { parsedBy, type Register } from './registration.ts';

interface VerifyOptions {
  readonly root?: string;
  readonly rootSha256?: Sha256;
  readonly known?: { readonly seq: number; readonly hash: string };
}

const Known = z
  .string()
  .regex(/^\d{1,15}:[0-9a-f]{64}$/, 'not a record number and its hash, NUMBER:SHA256')
  .transform((text) => ({ seq: Number(text.split(':')[0]), hash: text.split(':')[1] ?? '' }));

export const registerAudit: Register = (program, run) => {
  const audit = program.command('audit').description('the audit trail');
  audit
    .command('verify')
    .argument('[file]', 'an exported file; without it the trail of the gateway is fetched')
    .option(
      '--root <file>',
      'root certificate that the checkpoints must chain to, PEM (default: ca/root.pem in the data directory)',
    )
    .option('--root-sha256 <hash>', 'its fingerprint, instead of the certificate', parsedBy(Sha256))
    .option('--known <number:hash>', 'a record noted earlier, which the trail must hold', parsedBy(Known))
    .description(
      'verify the chain of records and the signatures of its checkpoints, without the gateway when a file is named',
    )
    .action(run((context, file: string | undefined, options: VerifyOptions) => verify(context, file, options)));
  audit
    .command('export')
    .argument('[file]', 'where the JSON lines go, mode 0600 (default: standard output)')
    .description('export the audit trail; it is verified on the way')
    .action(run((context, file: string | undefined) => exportTrail(context, file)));
};

async function trustOf(
  { options: { data, ca } }: Context,
  { root, rootSha256, known }: VerifyOptions,
): Promise<ExportTrust> {
  const noted = known === undefined ? {} : { known };
  if (rootSha256 !== undefined) return { rootFingerprint: rootSha256, ...noted };
  const named = root ?? ca;
  const { auditRoot, ca: folder } = dataDirectory(data);
  const file = named ?? path.join(folder, 'root.pem');
  try {
    const others = named === undefined ? await readFile(auditRoot, 'utf8').catch(() => '') : '';
    const roots = decodePemAll('CERTIFICATE', (await readFile(file, 'utf8')) + others);
    if (roots.length === 0) throw new CroupierError('input.invalid', `${file} holds no certificate`);
    return { root: roots, ...noted };
  } catch (error) {
    // An auditor may verify far from any gateway; the outcome then says that the root is the file's own.
    if (named === undefined && error instanceof Error && 'code' in error && error.code === 'ENOENT') return noted;
    if (error instanceof CroupierError) throw error;
    throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

async function verify(context: Context, file: string | undefined, options: VerifyOptions): Promise<Outcome> {
  const trust = await trustOf(context, options);
  const document = await verifyExport(file === undefined ? await trail(context) : linesOf(fileBytes(file)), trust);
  return { document, text: describe(document, context.paint) };
}

/** Lines of the gateway's own export. */
async function trail(context: Context): Promise<AsyncIterable<string>> {
  const api = await context.connect('audit.read');
  return linesOf(await api.stream('audit.export', { query: {} }));
}

async function* fileBytes(file: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const part of createReadStream(file)) if (part instanceof Uint8Array) yield part;
  } catch (error) {
    throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

function describe(found: ExportVerification, paint: Paint): string {
  const { sealed, root } = found;
  const pinned: Cell = root.pinned
    ? root.fingerprint
    : { text: `${root.fingerprint}, which is the file's own: pass --root to know who signed`, style: 'yellow' };
  return facts(
    [
      ['audit trail', { text: 'verified', style: 'green' }],
      ['realm', found.realm],
      ['exported', found.exportedAt],
      ['records', `${found.first} to ${found.last}${found.fromTheStart ? '' : ', not from the start'}`],
      [
        'signed up to',
        sealed === undefined ? { text: 'nothing is signed', style: 'yellow' } : `${sealed.seq}, at ${sealed.time}`,
      ],
      ['not signed yet', found.unsealed],
      ['checkpoints', found.checkpoints],
      ['head', `${found.last}:${found.head}`],
      ['root', pinned],
    ],
    paint,
  );
}

async function exportTrail(context: Context, file: string | undefined): Promise<Outcome> {
  const { options, terminal, paint } = context;
  if (file === undefined && options.json !== undefined) {
    throw new CroupierError(
      'input.invalid',
      'an export is many JSON documents, one a line; name a file to get one document about it',
    );
  }
  const trust = await trustOf(context, {});
  const lines = await trail(context);
  if (file === undefined) {
    const verifier = createExportVerifier(trust);
    for await (const line of lines) {
      verifier.line(line);
      terminal.stdout(`${line}\n`);
    }
    terminal.stderr(describe(verifier.end(), paint));
    return { document: undefined, text: '' };
  }
  const verification = await writeVerified(path.resolve(file), lines, trust);
  return {
    document: { file: path.resolve(file), ...verification },
    text: describe(verification, paint) + `written to ${file}\n`,
  };
}

/** The file appears when it is whole and holds, or not at all. */
async function writeVerified(
  file: string,
  lines: AsyncIterable<string>,
  trust: ExportTrust,
): Promise<ExportVerification> {
  const temporary = `${file}.${process.pid}.new`;
  const verifier = createExportVerifier(trust);
  try {
    const handle = await open(temporary, 'w', 0o600);
    try {
      for await (const line of lines) {
        verifier.line(line);
        await handle.write(`${line}\n`);
      }
      const verification = verifier.end();
      await handle.sync();
      await rename(temporary, file);
      return verification;
    } finally {
      await handle.close();
    }
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof CroupierError) throw error;
    throw new CroupierError('input.invalid', `${file} cannot be written: ${errorMessage(error)}`, { cause: error });
  }
}
