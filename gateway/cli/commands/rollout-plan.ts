/** `croupier rollout plan`: what a rollout would do, before anybody is asked. */
import type { Command } from 'commander';
import type { z } from 'zod';
import type { RolloutPlanRequest, RolloutPlanView } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import { exitCodeOf } from '#schema/exit-code.ts';
import { KeySetName } from '#schema/ids.ts';
import { durationText, parseWith } from '#schema/parse.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, printable, type Paint } from '../output/text.ts';
import { readAnchors, withAnchors, type AnchorOptions } from './anchors.ts';
import type { Run } from './registration.ts';
import {
  campaignOf,
  termsOf,
  withCampaign,
  withTerms,
  type CampaignOptions,
  type TermOptions,
} from './rollout-terms.ts';

/** Names in each list, unless all are wanted. */
const NAMED = 20;

interface PlanOptions extends TermOptions, CampaignOptions, AnchorOptions {
  readonly trust?: true;
  readonly reEnrol?: true;
  readonly all?: true;
}

export function registerRolloutPlan(rollout: Command, run: Run): void {
  const command = rollout
    .command('plan')
    .argument('[keyset]', 'key set that would be rotated')
    .option('--trust', 'the next trust bundle instead')
    .option('--re-enrol', 'a re-enrolment campaign instead')
    .option('--all', 'name every device')
    .description('what a rollout would do: waves, who is offline, who would be left behind, what gates what');
  withCampaign(withAnchors(withTerms(command))).action(
    run(async (context: Context, keySet: string | undefined, options: PlanOptions): Promise<Outcome> => {
      const change = await changeOf(keySet, options);
      const api = await context.connect('fleet.view');
      const all = options.all === true;
      const plan = await api.call('rollout.plan', { body: { change, ...termsOf(options), all } });
      const text = describePlan(plan, context.paint, all);
      return { document: plan, text, exitCode: plan.errors.length === 0 ? 0 : exitCodeOf('rollout.plan-invalid') };
    }),
  );
}

/** Errors: `input.invalid` unless exactly one thing is named; those of the options. */
async function changeOf(
  keySet: string | undefined,
  options: PlanOptions,
): Promise<z.input<typeof RolloutPlanRequest>['change']> {
  const named = [keySet, options.trust, options.reEnrol].filter((one) => one !== undefined);
  if (named.length !== 1)
    throw new CroupierError('input.invalid', 'name one thing to plan: a key set, --trust or --re-enrol');
  if (keySet !== undefined)
    return { kind: 'key-version', keySet: parseWith(KeySetName, keySet, 'input.invalid', 'key set') };
  return options.trust === true ? { kind: 'trust-bundle', anchors: await readAnchors(options) } : campaignOf(options);
}

const RIGHT = (title: string): { readonly title: string; readonly align: 'right' } => ({ title, align: 'right' });

function waveTable({ waves }: RolloutPlanView, paint: Paint): string {
  const rows = waves.map((wave): Cell[] => [
    wave.name,
    wave.share,
    wave.soakMs === 0 ? undefined : durationText(wave.soakMs),
    wave.targets,
    wave.targets === wave.connected ? 0 : { text: String(wave.targets - wave.connected), style: 'yellow' },
    wave.services,
    wave.opensAt ?? { text: 'never', style: 'red' },
    wave.beginsAt ?? undefined,
  ]);
  const columns = ['WAVE', 'TAKES', 'SOAKS', RIGHT('DEVICES'), RIGHT('OFFLINE'), RIGHT('SERVICES')];
  return table([...columns, 'OPENS NOT BEFORE', 'FIRST DEVICE'], rows, paint);
}

/** The first items and how many more there are, of so many in all. */
function shortened<Item>(items: readonly Item[], count: number, all: boolean): [readonly Item[], string] {
  const shown = all ? items : items.slice(0, NAMED);
  const more = count - shown.length;
  return [shown, more <= 0 ? '' : `and ${more} more; --all names them\n`];
}

function offlineTable({ offline, targets, connected }: RolloutPlanView, paint: Paint, all: boolean): string {
  const count = targets - connected;
  if (count === 0) return '';
  const [shown, more] = shortened(offline, count, all);
  const rows = shown.map(({ device, wave, since }): Cell[] => [device, wave, since ?? 'never seen']);
  return `\noffline: ${countOf(count, 'target')}\n${table(['DEVICE', 'WAVE', 'LAST SEEN'], rows, paint)}${more}`;
}

function leftBehindTable({ leftBehind }: RolloutPlanView, paint: Paint, all: boolean): string {
  if (leftBehind.length === 0) return '';
  const rows = leftBehind.map(({ why, count, devices }): Cell[] => {
    const [shown, more] = shortened(devices, count, all);
    return [why, count, shown.join(', ') + (more === '' ? '' : ` and ${count - shown.length} more`)];
  });
  return `\nnot reached as things stand\n${table(['WHY', RIGHT('DEVICES'), 'WHICH'], rows, paint)}`;
}

const listed = (title: string, items: readonly string[]): string =>
  items.length === 0 ? '' : `\n${title}\n${items.map((item) => `  - ${printable(item)}\n`).join('')}`;

/** As people read it before they ask for it or approve it. */
export function describePlan(plan: RolloutPlanView, paint: Paint, all = false): string {
  const { targets, connected, errors, warnings } = plan;
  const about = facts(
    [
      ['what', plan.what],
      ['plan', plan.plan.name],
      ['starts', plan.startAt],
      ['targets', `${targets}: ${connected} connected, ${targets - connected} offline`],
      ['sha256', plan.planSha256],
    ],
    paint,
  );
  return [
    about,
    `\n${waveTable(plan, paint)}`,
    listed('what has to be true before it goes on', plan.gates),
    offlineTable(plan, paint, all),
    leftBehindTable(plan, paint, all),
    listed('worth knowing', warnings),
    paint('red', listed('it cannot be started', errors)),
  ].join('');
}

/** What cannot be started is refused before anybody is asked. Errors: `rollout.plan-invalid`. */
export function requireSound({ plan, errors }: RolloutPlanView): void {
  const [first, ...others] = errors;
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${countOf(others.length, 'other fault')})`;
  throw new CroupierError('rollout.plan-invalid', `plan ${plan.name} cannot be carried out: ${first}${more}`);
}
