/** `croupier rollout`: what is on its way, how far it is, and what holds it back. */
import { Option } from 'commander';
import { z } from 'zod';
import { OldVersionStateName, TargetStateName, type RolloutView } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId } from '#schema/ids.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { allItems, PAGE } from './pages.ts';
import { parsedBy, type Register } from './registration.ts';
import { registerRolloutActions } from './rollout-actions.ts';
import { describeRollout, stateCell } from './rollout-description.ts';
import { historyOutcome, type PageQuery } from './rollout-history.ts';
import { NAMED_ROLLOUT, rolloutId } from './rollout-id.ts';
import { registerRolloutPlan } from './rollout-plan.ts';
import { hasConverged, subjectOf, summaryOf } from './rollout-progress.ts';
import { watchRollout } from './watch-rollout.ts';

interface ShowOptions {
  readonly targets?: true;
  readonly state?: z.infer<typeof TargetStateName>;
  readonly wave?: string;
  readonly online?: boolean;
  readonly services?: true;
  readonly deferred?: true;
  readonly old?: z.infer<typeof OldVersionStateName>;
}

interface HistoryOptions {
  readonly targets?: true;
  readonly device?: DeviceId;
  readonly limit?: number;
}

export const registerRollout: Register = (program, run) => {
  const rollout = program.command('rollout').description('changes on their way to the devices');
  registerRolloutPlan(rollout, run);
  rollout
    .command('list')
    .description('rollouts, newest first')
    .option('--open', 'only those that have not ended')
    .action(run((context, { open }: { readonly open?: true }) => listRollouts(context, open === true)));
  rollout
    .command('show')
    .argument('<rollout>', NAMED_ROLLOUT)
    .option('--targets', 'list the targets')
    .addOption(new Option('--state <state>', 'list the targets in this state').choices(TargetStateName.options))
    .option('--wave <name>', 'list the targets of this wave')
    .option('--online', 'list the targets that are connected')
    .option('--no-online', 'list the targets that are not')
    .option('--services', 'list the services')
    .option('--deferred', 'list the targets that put the activation off')
    .addOption(
      new Option('--old <state>', 'list by what they have of old versions').choices(OldVersionStateName.options),
    )
    .description('one rollout: waves, what holds it back, and its targets')
    .action(run((context, wanted: string, options: ShowOptions) => showRollout(context, wanted, options)));
  rollout
    .command('watch')
    .argument('<rollout>', NAMED_ROLLOUT)
    .description('follow a rollout until every device that can answer uses the change; a paused one is waited for')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const id = await rolloutId(await context.connect('fleet.view'), wanted);
        const document = await watchRollout(context, id, isSettled, context.terminal.stopSignal());
        return { document, text: summaryOf(document) };
      }),
    );
  rollout
    .command('history')
    .argument('<rollout>', NAMED_ROLLOUT)
    .option('--targets', 'the steps of its targets, too')
    .addOption(
      new Option('--device <id>', 'only the steps of this target').argParser(parsedBy(DeviceId)).conflicts('targets'),
    )
    .option('--limit <n>', 'at most so many', parsedBy(z.coerce.number().int().min(1)))
    .description('what became of it, step by step: who did what, and why')
    .action(run((context, wanted: string, options: HistoryOptions) => showHistory(context, wanted, options)));
  registerRolloutActions(program, rollout, run);
};

/** Whether watching on would show nothing new by itself. */
export function isSettled(rollout: RolloutView): boolean {
  return rollout.state !== 'retiring' && rollout.state !== 'destroying' && hasConverged(rollout);
}

async function listRollouts(context: Context, open: boolean): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('rollout.list', {
    query: { limit: PAGE, ...(open ? { open: 'true' as const } : {}) },
  });
  const rows = document.items.map((item): Cell[] => [
    item.id,
    subjectOf(item),
    stateCell(item),
    item.plan,
    item.wave.openedAt === null ? undefined : `${item.wave.name} (${item.wave.index + 1} of ${item.wave.of})`,
    item.requestedBy,
    item.createdAt,
    item.activatedAt ?? undefined,
    item.finishedAt ?? undefined,
  ]);
  const columns = ['ROLLOUT', 'WHAT', 'STATE', 'PLAN', 'WAVE', 'ASKED BY', 'APPROVED', 'ACTIVATED', 'ENDED'];
  return { document, text: table(columns, rows, context.paint) };
}

/** Number of the wave. Errors: `input.invalid`, naming the waves there are. */
function waveOf({ terms, id }: RolloutView, wanted: string): number {
  const found = terms.waves.findIndex(({ name }) => name === wanted);
  if (found >= 0) return found;
  const names = terms.waves.map(({ name }) => name).join(', ');
  throw new CroupierError('input.invalid', `rollout ${id} has no wave ${wanted}; it has ${names}`);
}

async function targetRows(api: ApiClient, rollout: RolloutView, options: ShowOptions) {
  const { state, wave, online, services, deferred, old } = options;
  const yes = 'true' as const;
  const query = {
    limit: PAGE,
    ...(state === undefined ? {} : { state }),
    ...(wave === undefined ? {} : { wave: waveOf(rollout, wave) }),
    ...(online === undefined ? {} : { online: online ? yes : ('false' as const) }),
    ...(services === undefined ? {} : { service: yes }),
    ...(deferred === undefined ? {} : { deferred: yes }),
    ...(old === undefined ? {} : { old }),
  };
  const params = { id: rollout.id };
  return allItems((after: string | undefined) =>
    api.call('rollout.targets', { params, query: { ...query, ...(after === undefined ? {} : { after }) } }),
  );
}

async function showRollout(context: Context, wanted: string, options: ShowOptions): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const rollout = await api.call('rollout.show', { params: { id: await rolloutId(api, wanted) } });
  const about = describeRollout(rollout, context.paint);
  if (Object.values(options).every((option) => option === undefined)) return { document: rollout, text: about };
  const items = await targetRows(api, rollout, options);
  const rows = items.map((item): Cell[] => [
    item.device,
    rollout.terms.waves[item.wave]?.name,
    item.state,
    item.code ?? item.reason ?? undefined,
    item.old,
    item.connected ? 'yes' : 'no',
    item.lastSeenAt ?? undefined,
    item.deferredUntil ?? undefined,
    item.changedAt,
  ]);
  const columns = ['DEVICE', 'WAVE', 'STATE', 'WHY', 'OLD', 'CONNECTED', 'LAST SEEN', 'DEFERRED UNTIL', 'SINCE'];
  return { document: { ...rollout, targets: items }, text: `${about}\n${table(columns, rows, context.paint)}` };
}

async function showHistory(context: Context, wanted: string, options: HistoryOptions): Promise<Outcome> {
  const { targets, device, limit } = options;
  const api = await context.connect('fleet.view');
  const params = { id: await rolloutId(api, wanted) };
  const chosen =
    device === undefined ? { targets: targets === true ? ('true' as const) : ('false' as const) } : { device };
  const ask = (page: PageQuery) => api.call('rollout.history', { params, query: { ...chosen, ...page } });
  const columns = device === undefined && targets === true ? ['DEVICE' as const] : [];
  return historyOutcome(context, limit, columns, ask);
}
