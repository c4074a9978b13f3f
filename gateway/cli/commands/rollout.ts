/** `croupier rollout`, and what ends one: `retire` and `destroy`. */
import { Option } from 'commander';
import { CroupierError } from '#schema/errors.ts';
import { RolloutId } from '#schema/ids.ts';
import { TargetStateName, type RolloutSummaryView, type RolloutView } from '#schema/api/views.ts';
import type { z } from 'zod';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, type Style } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import type { Register } from './registration.ts';
import { hasConverged, summaryOf } from './rollout-progress.ts';
import { watchRollout } from './watch-rollout.ts';

const NAMED = 'id of the rollout, its beginning, or a key set for its latest rollout';

interface ShowOptions {
  readonly state?: z.infer<typeof TargetStateName>;
  readonly targets?: true;
}

export const registerRollout: Register = (program, run) => {
  const rollout = program.command('rollout').description('changes on their way to the devices');
  rollout
    .command('list')
    .description('rollouts, newest first')
    .option('--open', 'only those that are under way')
    .action(run((context, { open }: { readonly open?: true }) => listRollouts(context, open === true)));
  rollout
    .command('show')
    .argument('<rollout>', NAMED)
    .option('--targets', 'list the targets')
    .addOption(new Option('--state <state>', 'list the targets in this state').choices(TargetStateName.options))
    .description('one rollout and how far it is')
    .action(run((context, wanted: string, options: ShowOptions) => showRollout(context, wanted, options)));
  rollout
    .command('watch')
    .argument('<rollout>', NAMED)
    .description('follow a rollout until every device that can answer uses the new version')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const id = await rolloutId(await context.connect('fleet.view'), wanted);
        const document = await watchRollout(context, id, isSettled, context.terminal.stopSignal());
        return { document, text: summaryOf(document) };
      }),
    );
  program
    .command('retire')
    .argument('<rollout>', NAMED)
    .description('retire the old version of a rollout: accepted nowhere, once no device uses it')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const api = await context.connect('keyset.retire');
        const id = await rolloutId(api, wanted);
        return outcomeOf(
          await api.call('keyset.retire', { params: { id } }),
          `the old version of ${id} is retired as soon as no device uses it\n`,
        );
      }),
    );
  program
    .command('destroy')
    .argument('<rollout>', NAMED)
    .description('destroy the retired version of a rollout, in the gateway and on the devices (needs an approval)')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const api = await context.connect('keyset.destroy');
        const id = await rolloutId(api, wanted);
        return outcomeOf(
          await api.call('keyset.destroy', { params: { id } }),
          `the retired version of ${id} is destroyed; devices follow\n`,
        );
      }),
    );
};

/** Whether watching on would show nothing new by itself. */
export function isSettled(rollout: RolloutView): boolean {
  return rollout.state !== 'retiring' && rollout.state !== 'destroying' && hasConverged(rollout);
}

/** Errors: `rollout.not-found`, `input.invalid` when several begin like that. */
async function rolloutId(api: ApiClient, wanted: string): Promise<string> {
  if (RolloutId.safeParse(wanted).success) return wanted;
  const { items } = await api.call('rollout.list', { query: { limit: PAGE } });
  const latest = items.find(({ keySet }) => keySet === wanted);
  if (latest !== undefined) return latest.id;
  const found = items.filter(({ id }) => id.startsWith(wanted));
  const [only, ...others] = found;
  if (only === undefined)
    throw new CroupierError('rollout.not-found', `there is no rollout ${wanted}, nor a key set of this name with one`);
  if (others.length > 0)
    throw new CroupierError(
      'input.invalid',
      `${countOf(found.length, 'rollout')} begin with ${wanted}; name more of it`,
    );
  return only.id;
}

const STATE_STYLES: Readonly<Record<RolloutSummaryView['state'], Style>> = {
  distributing: 'cyan',
  ready: 'cyan',
  active: 'green',
  retiring: 'yellow',
  retired: 'green',
  destroying: 'yellow',
  destroyed: 'dim',
};

async function listRollouts(context: Context, open: boolean): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('rollout.list', {
    query: { limit: PAGE, ...(open ? { open: 'true' as const } : {}) },
  });
  const rows = document.items.map((item): Cell[] => [
    item.id,
    item.keySet,
    `${item.fromVersion} to ${item.toVersion}`,
    { text: item.state, style: STATE_STYLES[item.state] },
    item.requestedBy,
    item.createdAt,
    item.activatedAt ?? undefined,
    item.retiredAt ?? undefined,
  ]);
  return {
    document,
    text: table(
      ['ROLLOUT', 'KEY SET', 'VERSION', 'STATE', 'ASKED BY', 'STARTED', 'ACTIVATED', 'RETIRED'],
      rows,
      context.paint,
    ),
  };
}

async function showRollout(context: Context, wanted: string, { targets, state }: ShowOptions): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const id = await rolloutId(api, wanted);
  const rollout = await api.call('rollout.show', { params: { id } });
  const about = describe(rollout, context);
  if (targets === undefined && state === undefined) return { document: rollout, text: about };
  const query = { limit: PAGE, ...(state === undefined ? {} : { state }) };
  const items = await allItems((after: string | undefined) =>
    api.call('rollout.targets', { params: { id }, query: { ...query, ...(after === undefined ? {} : { after }) } }),
  );
  const rows = items.map((item): Cell[] => [
    item.device,
    item.state,
    item.code ?? undefined,
    item.connected ? 'yes' : 'no',
    item.lastSeenAt ?? undefined,
    item.changedAt,
  ]);
  return {
    document: { ...rollout, targets: items },
    text: `${about}\n${table(['DEVICE', 'STATE', 'CODE', 'CONNECTED', 'LAST SEEN', 'SINCE'], rows, context.paint)}`,
  };
}

function describe(rollout: RolloutView, { paint }: Context): string {
  const { progress } = rollout;
  const states = Object.entries(progress.byState).map(([name, devices]) => `${devices} ${name}`);
  return facts(
    [
      ['rollout', rollout.id],
      ['key set', rollout.keySet],
      ['version', `${rollout.fromVersion} to ${rollout.toVersion}`],
      ['state', { text: rollout.state, style: STATE_STYLES[rollout.state] }],
      ['waits for', rollout.hold ?? undefined],
      ['asked by', rollout.requestedBy],
      ['started', rollout.createdAt],
      ['activated', rollout.activatedAt ?? undefined],
      ['retired', rollout.retiredAt ?? undefined],
      ['finished', rollout.finishedAt ?? undefined],
      ['targets', `${progress.total}${states.length === 0 ? '' : `: ${states.join(', ')}`}`],
      ['offline, behind', progress.offlineBehind],
      ['use the old version', progress.oldInUse],
      ['hold the old version', progress.oldHeld],
    ],
    paint,
  );
}
