/** `croupier alert`: what somebody should look at. */
import { z } from 'zod';
import { AlertId } from '#schema/api/commands.ts';
import type { AlertView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf, type Style } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import { parsedBy, type Register } from './registration.ts';

export const SEVERITY_STYLES: Readonly<Record<AlertView['severity'], Style>> = {
  critical: 'red',
  warning: 'yellow',
  info: 'cyan',
};

export const registerAlert: Register = (program, run) => {
  const alert = program.command('alert').description('what somebody should look at');
  alert
    .command('list')
    .option('--all', 'those that were acknowledged, too')
    .description('open alerts, newest first')
    .action(run((context, { all }: { readonly all?: true }) => list(context, all === true)));
  alert
    .command('acknowledge')
    .argument('<id>', 'number of the alert', parsedBy(z.coerce.number().pipe(AlertId)))
    .requiredOption('--note <text>', 'what was found or done; stands in the audit record')
    .description('close an alert; the same trouble raises a new one')
    .action(
      run(async (context: Context, id: number, { note }: { readonly note: string }): Promise<Outcome> => {
        const api = await context.connect('alert.acknowledge');
        const answer = await api.call('alert.acknowledge', { params: { id }, body: { note } });
        return outcomeOf(answer, `acknowledged: alert ${id}\n`);
      }),
    );
};

async function list(context: Context, all: boolean): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const items = await allItems((after: number | undefined) =>
    api.call('alert.list', {
      query: { limit: PAGE, ...(all ? {} : { open: 'true' }), ...(after === undefined ? {} : { after }) },
    }),
  );
  const rows = items.map((item): Cell[] => [
    item.id,
    { text: item.severity, style: SEVERITY_STYLES[item.severity] },
    item.code,
    item.raisedAt,
    item.lastAt,
    item.occurrences,
    ...(all ? [item.acknowledgedBy ?? undefined] : []),
    item.message,
  ]);
  const heads = [
    { title: 'ALERT', align: 'right' } as const,
    'SEVERITY',
    'CODE',
    'SINCE',
    'LAST',
    { title: 'TIMES', align: 'right' } as const,
    ...(all ? ['ACKNOWLEDGED BY'] : []),
    'WHAT',
  ];
  const open = items.filter(({ acknowledgedAt }) => acknowledgedAt === null).length;
  return { document: { items }, text: `${table(heads, rows, context.paint)}${countOf(open, 'alert')} open\n` };
}
