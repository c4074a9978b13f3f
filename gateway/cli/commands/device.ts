/** `croupier device`: the inventory, and what happens to single devices. Tickets have a file of their own. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { Option, type Command } from 'commander';
import { z } from 'zod';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { DeviceClass, SiteName } from '#schema/ids.ts';
import { DeviceStateName, type DeviceDetailView, type DeviceSummaryView } from '#schema/api/views.ts';
import { parsePolicy } from '#gateway/operators/policy-command.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { parseInventoryCsv } from '../inventory/rows.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import { registerEnrolment } from './enrolment.ts';
import { parsedBy, type Register } from './registration.ts';
import { historyOutcome, type PageQuery } from './rollout-history.ts';
import { registerTicket } from './ticket.ts';

const STATE_STYLES = { registered: 'dim', enrolled: 'green', quarantined: 'red', revoked: 'red' } as const;

interface ListOptions {
  readonly class?: DeviceClass;
  readonly site?: SiteName;
  readonly state?: z.infer<typeof DeviceStateName>;
  readonly connected?: boolean;
  readonly limit?: number;
}

export const registerDevice: Register = (program, run) => {
  const device = program.command('device').description('the inventory and single devices');

  device
    .command('import')
    .argument(
      '<file>',
      'CSV with the columns id, class, site, serial; further columns are labels; - for standard input',
    )
    .description('add devices to the inventory: all rows or none')
    .action(run((context, file: string) => importDevices(context, file)));

  device
    .command('list')
    .description('devices of the inventory')
    .option('--class <class>', 'only this class', parsedBy(DeviceClass))
    .option('--site <site>', 'only this site', parsedBy(SiteName))
    .addOption(new Option('--state <state>', 'only this state').choices(DeviceStateName.options))
    .option('--connected', 'only those that are connected')
    .option('--no-connected', 'only those that are not')
    .option('--limit <n>', 'at most so many', parsedBy(z.coerce.number().int().min(1)))
    .action(run((context, options: ListOptions) => listDevices(context, options)));

  device
    .command('show')
    .argument('<id>')
    .description('one device: certificates, keys, rollouts')
    .action(run((context, id: string) => showDevice(context, id)));

  device
    .command('history')
    .argument('<id>')
    .option('--limit <n>', 'at most so many', parsedBy(z.coerce.number().int().min(1)))
    .description('what rollouts did to a device, step by step: proved by it, or on whose word and why')
    .action(
      run(async (context: Context, id: string, { limit }: { readonly limit?: number }): Promise<Outcome> => {
        const api = await context.connect('fleet.view');
        const ask = (page: PageQuery) => api.call('device.history', { params: { id }, query: page });
        return historyOutcome(context, limit, ['ROLLOUT'], ask);
      }),
    );

  registerTicket(device, run);
  registerEnrolment(device, run);
  contain(
    device,
    'quarantine',
    'cut a device off: neither keys nor certificates until it is released',
    'quarantined',
    run,
  );
  contain(device, 'revoke', 'revoke a device and its certificates', 'revoked', run);
  contain(device, 'release', 'serve a quarantined or revoked device again (needs an approval)', 'released', run);
  contain(
    device,
    're-baseline',
    'serve a device again whose storage went back in time or was copied: its reports begin anew (needs an approval)',
    're-baselined',
    run,
  );
};

function contain(
  device: Command,
  verb: 'quarantine' | 'revoke' | 'release' | 're-baseline',
  description: string,
  done: string,
  run: Parameters<Register>[1],
): void {
  device
    .command(verb)
    .argument('<id>')
    .requiredOption('--reason <text>', 'stands in the audit record')
    .description(description)
    .action(
      run(async (context: Context, id: string, { reason }: { readonly reason: string }): Promise<Outcome> => {
        const api = await context.connect(`device.${verb}`);
        const answer = await api.call(`device.${verb}`, { params: { id }, body: { reason } });
        return outcomeOf(answer, `${id} is ${done}\n`);
      }),
    );
}

/** Classes of the policy in force, for a fault that names its line; undefined before the first policy. */
async function knownClasses(api: ApiClient): Promise<readonly string[] | undefined> {
  const { policy } = await api.call('policy.show', {});
  return policy === null ? undefined : Object.keys(parsePolicy(policy.document).classes);
}

async function readInput(file: string): Promise<Uint8Array> {
  try {
    return file === '-' ? await buffer(process.stdin) : await readFile(file);
  } catch (error) {
    throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

async function importDevices(context: Context, file: string): Promise<Outcome> {
  const content = await readInput(file);
  const api = await context.connect('device.import');
  const rows = parseInventoryCsv(content, {
    name: file === '-' ? 'standard input' : file,
    classes: await knownClasses(api),
  });
  const answer = await api.call('device.import', { body: { rows } });
  return outcomeOf(answer, `imported ${countOf(rows.length, 'device')}\n`);
}

const labelsOf = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

const stateOf = ({ state, stateCode }: DeviceSummaryView): Cell => ({
  text: stateCode === null ? state : `${state} (${stateCode})`,
  style: STATE_STYLES[state],
});

async function listDevices(context: Context, { connected, limit, ...filter }: ListOptions): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const query = {
    ...filter,
    limit: Math.min(PAGE, limit ?? PAGE),
    ...(connected === undefined ? {} : { connected: connected ? ('true' as const) : ('false' as const) }),
  };
  const items = await allItems(
    (after: string | undefined) =>
      api.call('device.list', { query: { ...query, ...(after === undefined ? {} : { after }) } }),
    limit,
  );
  const rows = items.map((item): Cell[] => [
    item.id,
    item.class,
    item.site,
    item.serialNumber,
    stateOf(item),
    item.connected ? { text: 'yes', style: 'green' } : 'no',
    item.lastSeenAt ?? undefined,
    item.trustVersion,
    labelsOf(item.labels),
  ]);
  const columns = [
    'DEVICE',
    'CLASS',
    'SITE',
    'SERIAL',
    'STATE',
    'CONNECTED',
    'LAST SEEN',
    { title: 'TRUST', align: 'right' as const },
    'LABELS',
  ];
  return { document: { items }, text: table(columns, rows, context.paint) + `${countOf(items.length, 'device')}\n` };
}

async function showDevice(context: Context, id: string): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const device = await api.call('device.show', { params: { id } });
  return { document: device, text: describeDevice(device, context.paint) };
}

function describeDevice(device: DeviceDetailView, paint: Paint): string {
  const parts = [
    facts(
      [
        ['device', device.id],
        ['class', device.class],
        ['site', device.site],
        ['serial', device.serialNumber],
        ['labels', labelsOf(device.labels)],
        ['state', stateOf(device)],
        ['since', device.stateSince],
        ['connected', device.connected ? `yes, from ${device.address ?? 'an unknown address'}` : 'no'],
        ['last seen', device.lastSeenAt ?? undefined],
        ['last report', device.lastReportAt ?? undefined],
        ['agent', device.agentVersion ?? undefined],
        ['clock', device.clockTrusted ? 'trusted' : 'not trusted'],
        ['trust version', device.trustVersion],
        ['updates', `sent up to ${device.seq}, confirmed up to ${device.lastSeq}`],
        ['next attempt', device.dueAt ?? undefined],
      ],
      paint,
    ),
  ];
  if (device.certificates.length > 0) {
    const rows = device.certificates.map((item): Cell[] => [
      item.serial,
      item.slot ?? undefined,
      item.state,
      item.notBefore,
      item.notAfter,
      item.issuer,
    ]);
    parts.push(table(['CERTIFICATE', 'SLOT', 'STATE', 'NOT BEFORE', 'NOT AFTER', 'ISSUER'], rows, paint));
  }
  if (device.keys.length > 0) {
    const rows = device.keys.map((item): Cell[] => [
      item.keySet,
      item.version,
      item.state,
      item.kcv ?? undefined,
      item.changedAt,
    ]);
    parts.push(table(['KEY SET', { title: 'VERSION', align: 'right' }, 'STATE', 'KCV', 'SINCE'], rows, paint));
  }
  if (device.targets.length > 0) {
    const rows = device.targets.map((item): Cell[] => [
      item.rollout,
      item.state,
      item.code ?? undefined,
      item.deferredUntil ?? undefined,
      item.changedAt,
    ]);
    parts.push(table(['ROLLOUT', 'STATE', 'CODE', 'DEFERRED UNTIL', 'SINCE'], rows, paint));
  }
  return parts.join('\n');
}
