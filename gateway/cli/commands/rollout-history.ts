/** Steps of targets, as an auditor reads them. */
import type { TargetHistoryPage } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf } from '../output/text.ts';
import { allItems, PAGE } from './pages.ts';

interface PageQuery {
  readonly after?: number;
  readonly limit: number;
}

export async function historyOutcome(
  context: Context,
  limit: number | undefined,
  ask: (page: PageQuery) => Promise<TargetHistoryPage>,
): Promise<Outcome> {
  const size = Math.min(PAGE, limit ?? PAGE);
  const items = await allItems(
    (after: number | undefined) => ask({ limit: size, ...(after === undefined ? {} : { after }) }),
    limit,
  );
  const rows = items.map(({ at, rollout, device, from, to, code }): Cell[] => [
    at,
    device,
    from ?? undefined,
    to,
    code ?? undefined,
    rollout,
  ]);
  const text = table(['AT', 'DEVICE', 'FROM', 'TO', 'CODE', 'ROLLOUT'], rows, context.paint);
  return { document: { items }, text: text + `${countOf(items.length, 'step')}\n` };
}
