/** `croupier restore`: a backup takes the place of the database. The gateway must not run. */
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory } from '#gateway/installation/data-directory.ts';
import type { RestoreSummary } from '#gateway/installation/backup.ts';
import type { Context, Outcome } from '../context.ts';
import { facts } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import { confirm } from './confirm.ts';
import type { Register } from './registration.ts';

interface RestoreOptions {
  readonly yes?: true;
}

export const registerRestore: Register = (program, run) => {
  program
    .command('restore')
    .argument('<file>', 'a copy that croupier backup made')
    .option('--yes', 'do not ask')
    .description('put a backup in the place of the database; what it cannot know is made safe (see docs/restore.md)')
    .action(run((context, file: string, options: RestoreOptions) => restore(context, file, options)));
};

async function restore(context: Context, file: string, { yes }: RestoreOptions): Promise<Outcome> {
  const data = dataDirectory(context.options.data);
  const config = await loadConfig(data);
  const question = `Put ${file} in the place of ${config.store.path}? What was done since is forgotten.`;
  if (yes !== true && !(await confirm(context.terminal, question, '--yes')))
    return { document: { restored: false }, text: 'nothing was changed\n' };
  const { restoreDatabase } = await import('#gateway/installation/backup.ts');
  const summary = await restoreDatabase(data, config, file, context.clock);
  return { document: { restored: true, ...summary }, text: describe(summary, context.paint) };
}

function describe(summary: RestoreSummary, paint: Paint): string {
  const { takenAt, aside, abandoned, contained, predecessorRead, tickets, approvals } = summary;
  const about = facts(
    [
      ['database', { text: 'restored', style: 'green' }],
      ['as of', takenAt?.toISOString()],
      ['before it', aside],
      ['audit trail left', abandoned === undefined ? undefined : `${abandoned.seq}:${abandoned.hash}`],
      ['contained since', contained.length === 0 ? 'no device' : contained.join(', ')],
      ['void', `${countOf(tickets, 'ticket')}, ${countOf(approvals, 'approval')}`],
    ],
    paint,
  );
  const lost = predecessorRead
    ? ''
    : 'The database before it could not be read: devices that were quarantined or revoked since the backup are not any more. Contain them again before the gateway starts to serve.\n';
  return `${about}\n${lost}next: croupier gateway, then croupier alert list; what people have to do is in docs/restore.md\n`;
}
