/** Requests that were parked until an engineer has looked: `croupier device requests|approve|refuse`. */
import { Option, type Command } from 'commander';
import type { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { EnrolmentStateName, type EnrolmentView } from '#schema/api/views.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { PAGE } from './pages.ts';
import type { Run } from './registration.ts';

export function registerEnrolment(device: Command, run: Run): void {
  device
    .command('requests')
    .description('enrolment requests that wait for an engineer')
    .addOption(
      new Option('--state <state>', 'others than those that wait')
        .choices(EnrolmentStateName.options)
        .default('pending'),
    )
    .action(
      run((context, { state }: { readonly state: z.infer<typeof EnrolmentStateName> }) => listRequests(context, state)),
    );

  device
    .command('approve')
    .argument('<request>', 'id of the request or its beginning, or the device that it names')
    .option('--device <id>', 'device of the inventory that the request comes from, when it names none')
    .description('let a parked request have its certificate')
    .action(
      run(
        async (
          context: Context,
          wanted: string,
          { device: assigned }: { readonly device?: string },
        ): Promise<Outcome> => {
          const api = await context.connect('enrolment.approve');
          const request = await findRequest(api, wanted);
          const body = assigned === undefined ? {} : { device: assigned };
          const answer = await api.call('enrolment.approve', { params: { id: request.id }, body });
          return outcomeOf(
            answer,
            `approved: ${assigned ?? request.device ?? request.id} gets its certificate when it asks again\n`,
          );
        },
      ),
    );

  device
    .command('refuse')
    .argument('<request>', 'id of the request or its beginning, or the device that it names')
    .requiredOption('--reason <text>', 'stands in the audit record')
    .description('refuse a parked request')
    .action(
      run(async (context: Context, wanted: string, { reason }: { readonly reason: string }): Promise<Outcome> => {
        const api = await context.connect('enrolment.refuse');
        const request = await findRequest(api, wanted);
        const answer = await api.call('enrolment.refuse', { params: { id: request.id }, body: { reason } });
        return outcomeOf(answer, `refused: ${request.device ?? request.id}\n`);
      }),
    );
}

/** Errors: `input.invalid` unless exactly one open request is meant. */
async function findRequest(api: ApiClient, wanted: string): Promise<EnrolmentView> {
  const pages = await Promise.all(
    (['pending', 'approved'] as const).map((state) => api.call('enrolment.list', { query: { state, limit: PAGE } })),
  );
  const open = pages.flatMap(({ items }) => items);
  const found = open.filter(({ id, device }) => id.startsWith(wanted) || device === wanted);
  const [only, ...others] = found;
  if (only === undefined)
    throw new CroupierError(
      'input.invalid',
      `no enrolment request waits that is ${wanted}; see croupier device requests`,
    );
  if (others.length > 0)
    throw new CroupierError(
      'input.invalid',
      `${wanted} is ${countOf(found.length, 'request')}: ${found.map(({ id }) => id).join(', ')}; name one by its id`,
    );
  return only;
}

async function listRequests(context: Context, state: z.infer<typeof EnrolmentStateName>): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const { items } = await api.call('enrolment.list', { query: { state, limit: PAGE } });
  const rows = items.map((item): Cell[] => [
    item.id,
    item.device ?? undefined,
    item.reason,
    item.source ?? undefined,
    item.requestedAt,
    item.csrSha256.slice(0, 16),
  ]);
  return {
    document: { items },
    text:
      table(['REQUEST', 'DEVICE', 'REASON', 'FROM', 'ASKED AT', 'CSR'], rows, context.paint) +
      `${countOf(items.length, 'request')} ${state}\n`,
  };
}
