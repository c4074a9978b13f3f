/** Brings the devices of a floor into the gateway's inventory and gives them tickets. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { importInventory, knownDevices } from '../operator/inventory.ts';
import type { Operators } from '../operator/operators.ts';
import { issueTickets } from '../operator/tickets.ts';
import type { Floor } from './floor.ts';

export interface PopulationSetting {
  /** Data directory of the gateway. */
  readonly directory: string;
  readonly operators: Operators;
  /** Where the inventory is written. */
  readonly csv: string;
}

/** Imports the devices that the gateway does not know yet; returns how many. */
export async function registerFloor(floor: Floor, { directory, operators, csv }: PopulationSetting): Promise<number> {
  const known = await knownDevices(operators.as('device-engineer').client);
  const missing = floor.plans.filter(({ id }) => !known.has(id)).map(({ row }) => row);
  if (missing.length === 0) return 0;
  await mkdir(dirname(csv), { recursive: true, mode: 0o700 });
  await importInventory(directory, operators, csv, missing);
  return missing.length;
}

/** Gives a ticket to each device that has no certificate; returns how many. */
export async function ticketFloor(floor: Floor, operators: Operators): Promise<number> {
  const without = await floor.unenrolled();
  floor.handOut(
    await issueTickets(
      operators,
      without.map(({ id }) => id),
    ),
  );
  return without.length;
}
