/** `croupier apply`: the fleet policy as code. The difference is shown before anything is asked for. */
import { readFile } from 'node:fs/promises';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Context, Outcome } from '../context.ts';
import { paintWith } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { confirm } from './confirm.ts';
import { paintChanges } from './policy-changes.ts';
import type { Register } from './registration.ts';

interface ApplyOptions {
  readonly yes?: true;
  readonly dryRun?: true;
}

export const registerApply: Register = (program, run) => {
  program
    .command('apply')
    .argument('<file>', 'policy, YAML')
    .option('--yes', 'do not ask')
    .option('--dry-run', 'show the difference and stop')
    .description('apply a fleet policy: shows what changes, asks, and submits it (needs an approval)')
    .action(run((context, file: string, options: ApplyOptions) => apply(context, file, options)));
};

async function apply(context: Context, file: string, { yes, dryRun }: ApplyOptions): Promise<Outcome> {
  const { terminal, options, paint } = context;
  const document = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
  });
  const api = await context.connect(dryRun === undefined ? 'policy.apply' : 'fleet.view');
  const plan = await api.call('policy.plan', { body: { document } });
  if (dryRun !== undefined)
    return { document: plan, text: `what ${file} changes:\n${paintChanges(plan.changes, paint)}` };
  if (plan.changes.length === 0) return { document: { state: 'unchanged', plan }, text: `${file} changes nothing\n` };
  if (options.json === undefined)
    terminal.stderr(`what ${file} changes:\n${paintChanges(plan.changes, paintWith(terminal.colour))}`);
  if (yes === undefined && !(await confirm(terminal, 'apply this?', '--yes'))) {
    return { document: { state: 'unchanged', plan }, text: 'nothing was changed\n' };
  }
  const answer = await api.call('policy.apply', { body: { document, replaces: plan.replaces } });
  return outcomeOf(answer, `${file} is in force\n`);
}
