/** `croupier keyset`: key sets and their versions. */
import { z } from 'zod';
import { KeyVersionNumber } from '#schema/ids.ts';
import type { KeySetDetailView, KeySetView, KeyVersionView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { parsedBy, type Register } from './registration.ts';

const STATE_STYLES = {
  'pre-activation': 'cyan',
  active: 'green',
  suspended: 'yellow',
  deactivated: 'dim',
  compromised: 'red',
  destroyed: 'dim',
} as const;

const DAY_MS = 86_400_000;

export const registerKeyset: Register = (program, run) => {
  const keyset = program.command('keyset').description('key sets and their versions');
  keyset.command('list').description('all key sets').action(run(listKeySets));
  keyset
    .command('show')
    .argument('<keyset>')
    .description('one key set: versions, and how many devices hold each')
    .action(run((context, name: string) => showKeySet(context, name)));
  keyset
    .command('compromise')
    .argument('<keyset>')
    .argument('<version>', 'number of the version', parsedBy(z.coerce.number().pipe(KeyVersionNumber)))
    .requiredOption('--reason <text>', 'stands in the audit record')
    .description('declare a version compromised; its successor goes to everybody at once')
    .action(
      run((context, name: string, version: KeyVersionNumber, { reason }: { readonly reason: string }) =>
        declareCompromised(context, name, version, reason),
      ),
    );
};

async function declareCompromised(
  context: Context,
  name: string,
  version: KeyVersionNumber,
  reason: string,
): Promise<Outcome> {
  const api = await context.connect('keyset.compromise');
  const answer = await api.call('keyset.compromise', { params: { name }, body: { version, reason } });
  return outcomeOf(
    answer,
    `version ${version} of ${name} is compromised; see its successor with croupier rollout watch ${name}\n`,
  );
}

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
    rotationCell(item),
    selectorOf(item),
  ]);
  const columns = [
    'KEY SET',
    'ALGORITHM',
    'USE',
    'SCOPE',
    { title: 'ACTIVE', align: 'right' as const },
    { title: 'VERSIONS', align: 'right' as const },
    'ROTATION',
    'DEVICES',
  ];
  return { document, text: table(columns, rows, context.paint) };
}

const ROTATION_STYLES = { 'in-period': 'green', due: 'yellow', overdue: 'red', 'under-way': 'cyan' } as const;

/** Where it stands, and until when that is so. */
function rotationCell({ rotation: { state, dueAt, endsAt } }: KeySetView): Cell {
  const when = state === 'in-period' ? dueAt : endsAt;
  const until = { 'in-period': 'due', due: 'until', overdue: 'since', 'under-way': 'ends' }[state];
  return { text: when === null ? state : `${state}, ${until} ${when}`, style: ROTATION_STYLES[state] };
}

const STARTS = {
  manual: 'nothing happens',
  propose: 'an alert asks for it',
  automatic: 'it is started',
} as const;

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
      ['rotation', rotationCell(document)],
      ['when due', `${STARTS[document.rotation.start]}, by plan ${document.rotation.plan}`],
      ['revision', document.revision],
    ],
    context.paint,
  );
  return { document, text: `${about}\n${versionTable(document, context.paint)}` };
}

function versionState({ state, retiredAt, compromisedAt }: KeyVersionView): string {
  if (compromisedAt !== null && state !== 'compromised') return `${state} (compromised)`;
  return retiredAt !== null && state === 'deactivated' ? 'deactivated (retired)' : state;
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
      text: versionState(item),
      style: item.compromisedAt === null ? STATE_STYLES[item.state] : 'red',
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
