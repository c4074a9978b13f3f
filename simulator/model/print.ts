/** What a run of the model has shown, for people and for programs. */
import type { RolloutRecord } from '#gateway/ports/store/records.ts';
import { secondsOf } from '../output/steps.ts';
import { writeTable } from '../output/table.ts';
import type { Output } from '../output/terminal.ts';
import type { RolloutAccount } from './account.ts';
import { MODEL_START } from './lane-messages.ts';
import type { ModelResult, Percentiles } from './run.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Days since the beginning of the model. */
const dayOf = (ms: number): string => ((ms - MODEL_START.getTime()) / DAY).toFixed(1);

function spanOf(ms: number | undefined): string {
  if (ms === undefined) return '';
  if (ms < MINUTE) return `${(ms / SECOND).toFixed(1)} s`;
  if (ms < HOUR) return `${Math.round(ms / MINUTE)} min`;
  return ms < 2 * DAY ? `${(ms / HOUR).toFixed(1)} h` : `${(ms / DAY).toFixed(1)} d`;
}

const END_STATES: readonly RolloutRecord['state'][] = ['aborted', 'superseded', 'compromised'];

/** Since its distribution began. */
function since(account: RolloutAccount, state: RolloutRecord['state']): string {
  const begun = account.reached.distributing;
  const at = account.reached[state];
  return begun === undefined || at === undefined ? '' : spanOf(at - begun);
}

function wavesOf({ waves }: RolloutAccount): string {
  return waves
    .map(({ name, openedAt, passedAt }) => `${name} ${passedAt === undefined ? 'open' : spanOf(passedAt - openedAt)}`)
    .join(', ');
}

function noteOf({ reached, pauses, stragglers, signedOff }: RolloutAccount): string {
  const parts = END_STATES.filter((state) => reached[state] !== undefined).map((state): string => state);
  if (pauses.length > 0)
    parts.push(`paused ${pauses.length} times (${[...new Set(pauses.map(({ code }) => code))].join(', ')})`);
  if (stragglers > 0) parts.push(`${stragglers} stragglers`);
  if (signedOff > 0) parts.push(`${signedOff} signed off`);
  return parts.join(', ');
}

const counted = (value: number): string => value.toLocaleString('en');

export function writeModel(output: Output, result: ModelResult, seconds: number): void {
  const { messages, returned, rollouts } = result;
  output.write('\n');
  writeTable(
    output,
    ['rollout', 'day', 'targets', 'active', 'retired', 'destroyed', 'waves', ''].map((title, index) => ({
      title,
      align: index > 0 && index < 6 ? ('right' as const) : ('left' as const),
    })),
    rollouts.map((one) => [
      one.what,
      dayOf(one.approvedAt),
      counted(one.targets),
      since(one, 'active'),
      since(one, 'retired'),
      since(one, one.reached.completed === undefined ? 'destroyed' : 'completed'),
      wavesOf(one),
      noteOf(one),
    ]),
  );
  const percentiles = ({ p50, p95, p99, max }: Percentiles, show: (value: number) => string): string =>
    `half ${show(p50)}, 95 % ${show(p95)}, 99 % ${show(p99)}, at most ${show(max)}`;
  const lines = [
    `${counted(result.events)} events in ${secondsOf(seconds)} (${counted(Math.round(result.events / seconds))}/s)`,
    `${counted(messages.updates)} updates, ${counted(messages.links)} trust links, ${counted(messages.reports)} reports, ${counted(messages.lost)} lost on the way`,
    `${counted(returned.devices)} devices came back after a day or more away`,
    `  messages until each held what it should: ${percentiles(returned.messages, String)}`,
    `  time until then: ${percentiles(returned.ms, spanOf)}`,
    `invariants I3, I5, I6, I9, I11: ${counted(result.checks)} checks, ${result.violations === 0 ? 'none broken' : `${counted(result.violations)} broken`}`,
    ...result.named.map(({ invariant, at, what }) => `  ${output.paint('red', invariant)} ${at} ${what}`),
    `seed ${result.seed}, history ${result.digest}`,
  ];
  output.write(`\n${lines.map((line) => `  ${line}\n`).join('')}`);
}

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

/** One JSON object. Times are RFC 3339 in the model's time, spans milliseconds. */
export function modelDocument(result: ModelResult, seconds: number): string {
  const rollouts = result.rollouts.map(({ approvedAt, waves, reached, pauses, ...rest }) => ({
    ...rest,
    approvedAt: instant(approvedAt),
    waves: waves.map(({ name, openedAt, passedAt }) => ({
      name,
      openedAt: instant(openedAt),
      passedAt: instant(passedAt),
    })),
    reached: Object.fromEntries(Object.entries(reached).map(([state, at]) => [state, instant(at)])),
    pauses: pauses.map(({ code, at, resumedAt }) => ({ code, at: instant(at), resumedAt: instant(resumedAt) })),
  }));
  return JSON.stringify({ ...result, rollouts, seconds });
}
