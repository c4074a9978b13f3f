/** The inventory of a floor: as an asset register would export it, and imported as an engineer would. */
import { writeFile } from 'node:fs/promises';
import { CommandAnswer } from '#schema/api/commands.ts';
import type { InventoryRow } from '#schema/inventory.ts';
import type { DeviceId } from '#schema/ids.ts';
import { z } from 'zod';
import { runCroupier } from '../process/croupier.ts';
import type { OperatorClient } from './client.ts';
import type { Operators } from './operators.ts';

const COLUMNS = ['id', 'class', 'site', 'serial'] as const;
const PAGE = 1_000;

/** RFC 4180; one column for each label that any device has. */
export function inventoryCsv(rows: readonly InventoryRow[]): string {
  const labels = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))].sort();
  const lines = rows.map((row) =>
    [...COLUMNS.map((column) => row[column]), ...labels.map((label) => row.labels[label] ?? '')].map(field).join(','),
  );
  return [[...COLUMNS, ...labels].join(','), ...lines].map((line) => `${line}\r\n`).join('');
}

const field = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Ids of all devices that the gateway knows. */
export async function knownDevices(client: OperatorClient): Promise<ReadonlySet<DeviceId>> {
  const found = new Set<DeviceId>();
  let after: string | undefined;
  do {
    const { items, next } = await client.call('device.list', {
      query: { limit: PAGE, ...(after === undefined ? {} : { after }) },
    });
    for (const { id } of items) found.add(id);
    after = next ?? undefined;
  } while (after !== undefined);
  return found;
}

/**
 * Writes the rows into `file` and imports it with the command line, as the device engineer; the approver approves.
 * Errors: those of the gateway.
 */
export async function importInventory(
  directory: string,
  operators: Operators,
  file: string,
  rows: readonly InventoryRow[],
): Promise<void> {
  await writeFile(file, inventoryCsv(rows), { mode: 0o600 });
  const { name } = operators.as('device-engineer');
  const answer = await runCroupier(['--data', directory, '--as', name, 'device', 'import', file], CommandAnswer);
  await operators.complete(answer, z.object({ imported: z.number() }));
}
