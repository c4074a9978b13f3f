/** `croupier keyset`: key sets and their versions. */
import type { KeySetDetailView, KeySetView, KeyVersionView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import type { Register } from './registration.ts';

const STATE_STYLES = {
  'pre-activation': 'cyan',
  active: 'green',
  suspended: 'yellow',
  deactivated: 'dim',
  compromised: 'red',
  destroyed: 'dim',
} as const;

const DAY_MS = 86_400_000;
/** A rotation that is due this soon is worth a colour. */
const SOON_MS = 14 * DAY_MS;

export const registerKeyset: Register = (program, run) => {
  const keyset = program.command('keyset').description('key sets and their versions');
  keyset.command('list').description('all key sets').action(run(listKeySets));
  keyset
    .command('show')
    .argument('<keyset>')
    .description('one key set: versions, and how many devices hold each')
    .action(run((context, name: string) => showKeySet(context, name)));
};

async function listKeySets(context: Context): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('keyset.list', {});
  const rows = document.items.map((item): Cell[] => [
    item.name,
    item.algorithm,
    item.use,
    item.scope,
    item.activeVersion ?? undefined,
    item.versions.length,
    rotateBy(item, context),
    selectorOf(item),
  ]);
  const columns = [
    'KEY SET',
    'ALGORITHM',
    'USE',
    'SCOPE',
    { title: 'ACTIVE', align: 'right' as const },
    { title: 'VERSIONS', align: 'right' as const },
    'ROTATE BY',
    'DEVICES',
  ];
  return { document, text: table(columns, rows, context.paint) };
}

function rotateBy({ rotateBy: by }: KeySetView, { clock }: Context): Cell {
  if (by === null) return undefined;
  const left = Date.parse(by) - clock.now().getTime();
  if (left < 0) return { text: `${by} (overdue)`, style: 'red' };
  return left < SOON_MS ? { text: by, style: 'yellow' } : by;
}

function selectorOf({ selector }: KeySetView): string {
  const parts = [
    ...(selector.class === undefined ? [] : [`class ${selector.class.join('|')}`]),
    ...(selector.site === undefined ? [] : [`site ${selector.site.join('|')}`]),
    ...Object.entries(selector.labels ?? {}).map(([name, value]) => `${name}=${value}`),
  ];
  return parts.length === 0 ? 'all' : parts.join(' and ');
}

async function showKeySet(context: Context, name: string): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('keyset.show', { params: { name } });
  const about = facts(
    [
      ['key set', document.name],
      ['algorithm', document.algorithm],
      ['use', document.use],
      ['scope', document.scope],
      ['devices', selectorOf(document)],
      ['cryptoperiod', countOf(Math.round(document.cryptoperiodMs / DAY_MS), 'day')],
      ['rotate by', rotateBy(document, context)],
      ['revision', document.revision],
    ],
    context.paint,
  );
  return { document, text: `${about}\n${versionTable(document, context.paint)}` };
}

function versionTable({ versions, devices }: KeySetDetailView, paint: Paint): string {
  const held = (version: KeyVersionView): string =>
    devices
      .filter((count) => count.version === version.version)
      .map((count) => `${count.devices} ${count.state}`)
      .join(', ');
  const rows = versions.map((item): Cell[] => [
    item.version,
    {
      text: item.state + (item.retiredAt !== null && item.state === 'deactivated' ? ' (retired)' : ''),
      style: STATE_STYLES[item.state],
    },
    item.kcv,
    item.createdAt,
    item.activatedAt ?? undefined,
    item.retiredAt ?? undefined,
    item.destroyedAt ?? undefined,
    held(item),
  ]);
  return table(
    [
      { title: 'VERSION', align: 'right' },
      'STATE',
      'KCV',
      'CREATED',
      'ACTIVATED',
      'RETIRED',
      'DESTROYED',
      'ON DEVICES',
    ],
    rows,
    paint,
  );
}
