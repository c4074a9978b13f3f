/** History of rollouts and devices, as an auditor reads it. */
import type { HistoryPage, HistoryStepView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import { allItems, PAGE } from './pages.ts';

export interface PageQuery {
  readonly after?: number;
  readonly limit: number;
}

/** Columns that a history has besides those of every one. */
type OtherColumn = 'DEVICE' | 'ROLLOUT';

/** What is the same for every step of a rollout, and stands in `rollout show`. */
const SUBJECT: ReadonlySet<string> = new Set(['keySet', 'from', 'to', 'trust', 'campaign']);

type Details = Extract<HistoryStepView, { kind: 'rollout' }>['details'];

/** Hashes by their beginning: the whole one stands in the document. */
const short = (text: string): string => (/^[0-9a-f]{64}$/.test(text) ? text.slice(0, 12) : text);

function detailsText(details: Details): string {
  return Object.entries(details)
    .filter(([name]) => !SUBJECT.has(name))
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(', ') : short(String(value))}`)
    .join('; ');
}

function stepText(step: HistoryStepView): string {
  if (step.kind === 'rollout') return step.step;
  const { from, to, word } = step;
  const way = from === null || from === to ? to : `${from} to ${to}`;
  return word === null ? way : `${word.step}: ${way}`;
}

/** `bob, approval 0c2c…`; nothing where no approval was needed. */
function approvalText({ approval, approvedBy }: { approval: string | null; approvedBy: readonly string[] }): string {
  return approval === null ? '' : `${approvedBy.join(', ')}, approval ${approval}`;
}

function cellsOf(step: HistoryStepView, others: readonly OtherColumn[]): readonly Cell[] {
  const word = step.kind === 'rollout' ? step : step.word;
  const about = { DEVICE: step.kind === 'target' ? step.device : undefined, ROLLOUT: step.rollout };
  return [
    step.at,
    ...others.map((column) => about[column]),
    stepText(step),
    word?.by,
    word === null ? undefined : approvalText(word),
    [step.code, word?.reason].filter(Boolean).join(': '),
    ...(step.kind === 'rollout' ? [detailsText(step.details)] : []),
  ];
}

/** Steps as a table, with `others` beside the columns of every history. */
export function historyText(items: readonly HistoryStepView[], others: readonly OtherColumn[], paint: Paint): string {
  const details = items.some(({ kind }) => kind === 'rollout') ? ['DETAILS'] : [];
  const columns = ['AT', ...others, 'STEP', 'BY', 'APPROVED BY', 'WHY', ...details];
  const rows = items.map((step) => cellsOf(step, others));
  return table(columns, rows, paint) + `${countOf(items.length, 'step')}\n`;
}

/** All pages that `ask` answers with. */
export async function historyOutcome(
  context: Context,
  limit: number | undefined,
  others: readonly OtherColumn[],
  ask: (page: PageQuery) => Promise<HistoryPage>,
): Promise<Outcome> {
  const size = Math.min(PAGE, limit ?? PAGE);
  const items = await allItems(
    (after: number | undefined) => ask({ limit: size, ...(after === undefined ? {} : { after }) }),
    limit,
  );
  return { document: { items }, text: historyText(items, others, context.paint) };
}
