import { expect, test } from 'vitest';
import { parseInventoryCsv } from '#gateway/cli/inventory/rows.ts';
import { InventoryRow } from '#schema/inventory.ts';
import { planFloor } from '#simulator/floor/plan.ts';
import { inventoryCsv } from '#simulator/operator/inventory.ts';

const read = (csv: string) => parseInventoryCsv(Buffer.from(csv), { name: 'test', classes: undefined });

test('given the rows of a floor, when they are written as CSV, then the command line reads the same rows', () => {
  const rows = planFloor({ seed: 's', size: 200, now: new Date(0) }).map(({ row }) => row);
  expect(read(inventoryCsv(rows))).toEqual(rows);
});

test('given values with commas, quotes and line breaks, then they survive', () => {
  const rows = [
    InventoryRow.parse({
      id: 'EGM-1',
      class: 'egm',
      site: 'a',
      serial: 'A,1',
      labels: { note: 'say "hi", then\nleave' },
    }),
  ];
  expect(read(inventoryCsv(rows))).toEqual(rows);
});
