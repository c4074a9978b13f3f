/** `croupier ceremony`: what is done on the machine that holds the root's token. It needs no gateway and no network. */
import { z } from 'zod';
import { Realm } from '#schema/ids.ts';
import type { OfflineResult } from '#gateway/installation/ceremony.ts';
import type { Context, Outcome } from '../context.ts';
import { facts } from '../output/table.ts';
import { collect, parsedBy, type Register } from './registration.ts';

interface CommonOptions {
  readonly rootToken: string;
  readonly rootPin?: string;
  readonly by: readonly string[];
  readonly out: string;
}
interface SignOptions extends CommonOptions {
  readonly csr: string;
  readonly rootCertificate?: string;
  readonly years: number;
}
interface RootOptions extends CommonOptions {
  readonly realm: Realm;
  readonly operator: string;
  readonly generation: number;
}

const BY = ['--by <name>', 'a person present; may be given several times', collect] as const;

export const registerCeremony: Register = (program, run) => {
  const ceremony = program.command('ceremony').description("key ceremonies with the root's token, offline");
  ceremony
    .command('sign')
    .requiredOption('--csr <file>', 'request of croupier authority prepare, PEM')
    .requiredOption('--root-token <dir>', "directory of the root's token")
    .option('--root-pin <file>', 'file with its PIN (default: pin beside the token)')
    .option('--root-certificate <file>', "the root's certificate, PEM (default: root.pem beside the token)")
    .option('--years <number>', 'validity, at most 5', parsedBy(z.coerce.number().int().min(1).max(5)), 5)
    .requiredOption(...BY)
    .requiredOption('--out <file>', 'certificate, PEM; the record goes beside it, as FILE.ceremony.jsonl')
    .description('have the root sign the request of a Device CA or Operations CA')
    .action(run((context, options: SignOptions) => sign(context, options)));
  ceremony
    .command('root')
    .requiredOption('--realm <name>', 'the realm that it is for', parsedBy(Realm))
    .requiredOption('--operator <organisation>', 'organisation in the certificate')
    .option(
      '--generation <number>',
      'which root of the realm this is',
      parsedBy(z.coerce.number().int().min(2).max(99)),
      2,
    )
    .requiredOption('--root-token <dir>', 'new directory for its token')
    .requiredOption(...BY)
    .requiredOption('--out <file>', 'certificate, PEM; the record goes beside it, as FILE.ceremony.jsonl')
    .description('make another root for a realm, in a token of its own')
    .action(run((context, options: RootOptions) => makeRoot(context, options)));
};

function told(context: Context, { record, certificateFile, recordFile }: OfflineResult, next: string): Outcome {
  const about = facts(
    [
      ['certificate', record.commonName],
      ['sha256', record.certificateFingerprint],
      ['serial', record.serialNumber],
      ['not after', record.notAfter],
      ['signed by', record.issuerFingerprint],
      ['present', record.performedBy.join(', ')],
      ['file', certificateFile],
      ['record', recordFile],
    ],
    context.paint,
  );
  return { document: { record, certificateFile, recordFile }, text: `${about}\nnext: ${next}\n` };
}

async function sign(context: Context, { by, ...options }: SignOptions): Promise<Outcome> {
  const { signOffline } = await import('#gateway/installation/ceremony.ts');
  const result = await signOffline({ ...options, performedBy: by, now: context.clock.now() });
  const role = result.record.ceremony;
  return told(
    context,
    result,
    `put the token back into its safe, keep ${result.recordFile}, then croupier authority install ${role} --certificate ${result.certificateFile}`,
  );
}

async function makeRoot(context: Context, { by, ...options }: RootOptions): Promise<Outcome> {
  const { makeRootOffline } = await import('#gateway/installation/ceremony.ts');
  const result = await makeRootOffline({ ...options, performedBy: by, now: context.clock.now() });
  return told(
    context,
    result,
    `put ${options.rootToken} into a safe, keep ${result.recordFile}, then croupier authority install root --certificate ${result.certificateFile}`,
  );
}
