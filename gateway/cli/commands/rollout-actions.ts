/** What people do with a rollout that is under way. */
import type { Command } from 'commander';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import type { OldVersionStateName, TargetStateName } from '#schema/api/views.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { countOf } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import type { Run } from './registration.ts';
import { NAMED_ROLLOUT, rolloutId } from './rollout-id.ts';

interface Reasoned {
  readonly reason: string;
}

const REASON = '--reason <text>';
const RECORDED = 'stands in the audit record';

function registerSteps(rollout: Command, run: Run): void {
  rollout
    .command('pause')
    .argument('<rollout>', NAMED_ROLLOUT)
    .requiredOption(REASON, RECORDED)
    .description('begin with no further device and take no further step')
    .action(
      run(async (context: Context, wanted: string, { reason }: Reasoned): Promise<Outcome> => {
        const api = await context.connect('rollout.pause');
        const id = await rolloutId(api, wanted);
        return outcomeOf(await api.call('rollout.pause', { params: { id }, body: { reason } }), `${id} is paused\n`);
      }),
    );
  rollout
    .command('resume')
    .argument('<rollout>', NAMED_ROLLOUT)
    .option(REASON, RECORDED)
    .description('let a paused rollout go on (needs an approval)')
    .action(
      run(async (context: Context, wanted: string, { reason }: Partial<Reasoned>): Promise<Outcome> => {
        const api = await context.connect('rollout.resume');
        const id = await rolloutId(api, wanted);
        const body = reason === undefined ? {} : { reason };
        return outcomeOf(await api.call('rollout.resume', { params: { id }, body }), `${id} goes on\n`);
      }),
    );
  rollout
    .command('abort')
    .argument('<rollout>', NAMED_ROLLOUT)
    .requiredOption(REASON, RECORDED)
    .description('end a rollout before its activation; what devices stored of it is destroyed')
    .action(
      run(async (context: Context, wanted: string, { reason }: Reasoned): Promise<Outcome> => {
        const api = await context.connect('rollout.abort');
        const id = await rolloutId(api, wanted);
        return outcomeOf(await api.call('rollout.abort', { params: { id }, body: { reason } }), `${id} is aborted\n`);
      }),
    );
}

const deviceIds = (given: readonly string[]): DeviceId[] =>
  given.map((text) => parseWith(DeviceId, text, 'input.invalid', `device ${text}`));

function registerRetry(rollout: Command, run: Run): void {
  rollout
    .command('retry')
    .argument('<rollout>', NAMED_ROLLOUT)
    .argument('[device...]', 'devices; all that have failed unless named')
    .description('begin with failed devices anew')
    .action(
      run(async (context: Context, wanted: string, given: readonly string[]): Promise<Outcome> => {
        const devices = deviceIds(given);
        const api = await context.connect('rollout.retry');
        const id = await rolloutId(api, wanted);
        const answer = await api.call('rollout.retry', {
          params: { id },
          body: devices.length === 0 ? {} : { devices },
        });
        const who = devices.length === 0 ? 'all failed devices' : countOf(devices.length, 'device');
        return outcomeOf(answer, `${who} of ${id} begin anew\n`);
      }),
    );
}

interface Chosen {
  readonly states?: readonly TargetStateName[];
  readonly old?: OldVersionStateName;
}

/** Who holds up the retirement or the completion of a rollout. */
const STRAGGLERS: Chosen = { states: ['pending', 'offered', 'stored', 'overdue', 'refused', 'stalled'] };

async function chosenDevices(api: ApiClient, id: string, { states, old }: Chosen): Promise<DeviceId[]> {
  const found: DeviceId[] = [];
  for (const state of states ?? [undefined]) {
    const query = { limit: PAGE, ...(state === undefined ? {} : { state }), ...(old === undefined ? {} : { old }) };
    const items = await allItems((after: string | undefined) =>
      api.call('rollout.targets', { params: { id }, query: { ...query, ...(after === undefined ? {} : { after }) } }),
    );
    found.push(...items.map(({ device }) => device));
  }
  return found.sort();
}

interface NamedOptions extends Reasoned {
  readonly stragglers?: true;
}

async function devicesOf(
  api: ApiClient,
  id: string,
  given: readonly string[],
  stragglers: boolean,
): Promise<DeviceId[]> {
  if (stragglers === given.length > 0)
    throw new CroupierError('input.invalid', 'name the devices, or pass --stragglers for all that are behind');
  if (!stragglers) return deviceIds(given);
  const { kind } = await api.call('rollout.show', { params: { id } });
  const found = await chosenDevices(api, id, kind === 'key-version' ? { old: 'in-use' } : STRAGGLERS);
  if (found.length === 0) throw new CroupierError('rollout.state-refused', `no device is behind in rollout ${id}`);
  return found;
}

function registerNamed(rollout: Command, run: Run): void {
  rollout
    .command('exempt')
    .argument('<rollout>', NAMED_ROLLOUT)
    .argument('<device...>')
    .requiredOption(REASON, RECORDED)
    .description('leave devices out of a rollout; they still count as ones that depend on the old version')
    .action(
      run(
        async (context: Context, wanted: string, given: readonly string[], { reason }: Reasoned): Promise<Outcome> => {
          const devices = deviceIds(given);
          const api = await context.connect('rollout.exempt');
          const id = await rolloutId(api, wanted);
          const answer = await api.call('rollout.exempt', { params: { id }, body: { devices, reason } });
          return outcomeOf(answer, `${countOf(devices.length, 'device')} exempt from ${id}\n`);
        },
      ),
    );
  rollout
    .command('sign-off')
    .argument('<rollout>', NAMED_ROLLOUT)
    .argument('[device...]')
    .option('--stragglers', 'all devices that are behind now, by name')
    .requiredOption(REASON, RECORDED)
    .description('declare that devices that are behind hold up nothing any more (needs an approval)')
    .action(
      run(
        async (
          context: Context,
          wanted: string,
          given: readonly string[],
          { reason, stragglers }: NamedOptions,
        ): Promise<Outcome> => {
          const api = await context.connect('rollout.sign-off');
          const id = await rolloutId(api, wanted);
          const devices = await devicesOf(api, id, given, stragglers === true);
          const answer = await api.call('rollout.sign-off', { params: { id }, body: { devices, reason } });
          return outcomeOf(answer, `${countOf(devices.length, 'device')} signed off in ${id}\n`);
        },
      ),
    );
}

/** What ends the old versions of a rollout. */
function registerEnds(program: Command, run: Run): void {
  program
    .command('retire')
    .argument('<rollout>', NAMED_ROLLOUT)
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
    .argument('<rollout>', NAMED_ROLLOUT)
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
}

export function registerRolloutActions(program: Command, rollout: Command, run: Run): void {
  registerSteps(rollout, run);
  registerRetry(rollout, run);
  registerNamed(rollout, run);
  registerEnds(program, run);
}
