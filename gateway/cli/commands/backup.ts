/** `croupier backup`: a verified copy of the database, beside a running gateway or without one. */
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import type { Context, Outcome } from '../context.ts';
import { facts } from '../output/table.ts';
import type { Register } from './registration.ts';

export const registerBackup: Register = (program, run) => {
  program
    .command('backup')
    .argument('<file>', 'where the copy goes, mode 0600; it must not exist')
    .description('copy the database while the gateway runs, and verify the copy; the HSM is backed up by its own means')
    .action(run((context, file: string) => backup(context, file)));
};

async function backup(context: Context, file: string): Promise<Outcome> {
  const config = await loadConfig(dataDirectory(context.options.data));
  const { backupDatabase } = await import('#gateway/installation/backup.ts');
  const document = await backupDatabase(config, file, context.clock);
  const { seq, hash } = document.head;
  const text = facts(
    [
      ['backup', { text: 'verified', style: 'green' }],
      ['file', document.file],
      ['bytes', document.bytes],
      ['audit head', `${seq}:${hash}`],
    ],
    context.paint,
  );
  return { document, text };
}
