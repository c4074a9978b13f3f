/** A realm for one benchmark: made anew in a directory of its own, its gateway a process of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { DeviceId } from '#schema/ids.ts';
import type { InventoryRow } from '#schema/inventory.ts';
import type { Ticket } from '#schema/ticket.ts';
import type { GatewayAddresses } from '../floor/floor.ts';
import { addressesOf, readInstallation, type Installation } from '../operator/installation.ts';
import { importInventory } from '../operator/inventory.ts';
import { openOperators, type Operators } from '../operator/operators.ts';
import { issueTickets } from '../operator/tickets.ts';
import { runCroupier } from '../process/croupier.ts';
import { startGatewayProcess, type GatewayProcess } from '../process/gateway.ts';

const FOUNDERS = ['kim=key-admin', 'dana=device-engineer', 'ari=approver'];
const ANY_PORT = { est: 0, mqtt: 0, api: 0, public: 0 };

export interface Realm extends AsyncDisposable {
  readonly directory: string;
  readonly installation: Installation;
  readonly gateway: GatewayProcess;
  readonly operators: Operators;
  /** With the address instead of the name, so that no resolver is measured. */
  readonly addresses: GatewayAddresses;
  /** Stops the gateway, does the work, and starts it again: on other ports, so that operators and addresses are new. */
  whileStopped(work: () => Promise<void>): Promise<void>;
  /** Imports devices and has tickets made for them, as engineers do. */
  admit(rows: readonly InventoryRow[]): Promise<readonly Ticket[]>;
}

const byAddress = (url: string): string => url.replace('localhost', '127.0.0.1');

/** Errors: those of `croupier init` and `croupier gateway`. */
export async function openRealm(): Promise<Realm> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'croupier-bench-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const founders = FOUNDERS.flatMap((founder) => ['--founder', founder]);
  const about = ['--realm', 'bench', '--operator', 'Example Casino'];
  await runCroupier(
    ['--data', directory, 'init', ...about, ...founders],
    z.object({ ceremonies: z.array(z.unknown()) }),
  );
  const log = join(directory, 'log', 'gateway.log');
  const installation = await readInstallation(directory);
  let running = await start(directory, installation, log);
  stack.defer(() => running.stop());
  const owned = stack.move();
  return {
    directory,
    installation,
    get gateway() {
      return running.gateway;
    },
    get operators() {
      return running.operators;
    },
    get addresses() {
      return running.addresses;
    },
    whileStopped: async (work) => {
      await running.stop();
      await work();
      running = await start(directory, installation, log);
    },
    admit: async (rows) => {
      const { operators, addresses } = running;
      await importInventory(directory, operators, join(directory, 'inventory.csv'), rows);
      const ids: readonly DeviceId[] = rows.map(({ id }) => id);
      const tickets = await issueTickets(operators, ids);
      return tickets.map((ticket) => ({
        ...ticket,
        est: addresses.est,
        mqtt: addresses.mqtt,
        public: addresses.public,
      }));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Running extends Pick<Realm, 'gateway' | 'operators' | 'addresses'> {
  /** Doing it twice does nothing. */
  stop(): Promise<void>;
}

async function start(directory: string, installation: Installation, log: string): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const gateway = await startGatewayProcess({ directory, ports: ANY_PORT, log });
  stack.defer(() => gateway.stop());
  const operators = await openOperators(installation, gateway.run);
  stack.defer(() => operators.close());
  const { est, mqtt, public: open, ...rest } = addressesOf(installation, gateway.run);
  const addresses = { ...rest, est: byAddress(est), mqtt: byAddress(mqtt), public: byAddress(open) };
  const owned = stack.move();
  return { gateway, operators, addresses, stop: () => owned.disposeAsync() };
}
