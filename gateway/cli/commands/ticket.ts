/** `croupier device ticket`: codes are made here, only their salts and hashes travel. */
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { DeviceId } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { Ticket } from '#schema/ticket.ts';
import type { CommandAnswer } from '#schema/api/commands.ts';
import { hashNewCode, makeTicketCode } from '#gateway/enrolment/ticket-code.ts';
import { dataDirectory, writePrivateFile } from '#gateway/installation/data-directory.ts';
import { parsePolicy } from '#gateway/operators/policy-command.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf } from '../output/text.ts';
import { describeAsked } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import type { Run } from './registration.ts';

interface TicketOptions {
  readonly allWithout?: true;
  readonly out?: string;
  readonly showCode?: true;
}

/** Most tickets of one request (schema/api/commands.ts). */
const MOST = 10_000;

export function registerTicket(device: Command, run: Run): void {
  device
    .command('ticket')
    .argument('[id...]', 'devices')
    .option('--all-without', 'all devices that are registered and have never enrolled')
    .option('--out <dir>', 'where the ticket files go (default: tickets in the data directory)')
    .option('--show-code', 'also print the codes, to be typed on a keypad; anyone who reads along can use them')
    .description('make tickets: files, mode 0600, that a technician carries to the devices')
    .action(run((context, ids: readonly string[], options: TicketOptions) => makeTickets(context, ids, options)));
}

async function makeTickets(context: Context, ids: readonly string[], options: TicketOptions): Promise<Outcome> {
  if ((ids.length === 0) === (options.allWithout === undefined)) {
    throw new CroupierError('input.invalid', 'name the devices, or pass --all-without');
  }
  const named = new Set(ids.map((id) => parseWith(DeviceId, id, 'input.invalid', `device ${id}`)));
  const api = await context.connect('device.ticket');
  const devices = options.allWithout === undefined ? [...named] : await neverEnrolled(api);
  if (devices.length === 0)
    return { document: { tickets: [] }, text: 'every device has enrolled or is out of service: no ticket was made\n' };
  if (devices.length > MOST) {
    throw new CroupierError(
      'input.too-large',
      `${devices.length} devices at once are more than ${MOST}; name them in parts`,
    );
  }
  const codes = devices.map((device) => ({ device, code: makeTicketCode(context.random) }));
  const tickets = codes.map(({ device, code }) => ({ device, ...hashNewCode(code, context.random) }));
  const directory = await ticketDirectory(context, options.out);
  const { answer, info } = await api.call('device.ticket', { body: { tickets } });
  const expiresAt = await expiryOf(answer, api);
  const files = codes.map(({ device, code }) => ({ device, code, file: path.join(directory, `${device}.ticket`) }));
  for (const { device, code, file } of files) {
    const ticket = parseWith(
      Ticket,
      { v: 1, type: 'ticket', device, code, expiresAt, ...info },
      'json.malformed',
      'ticket',
    );
    await writePrivateFile(file, `${JSON.stringify(ticket, null, 2)}\n`);
  }
  return report(context, files, answer, expiresAt, options.showCode === true);
}

async function neverEnrolled(api: ApiClient): Promise<readonly DeviceId[]> {
  const items = await allItems((after: string | undefined) =>
    api.call('device.list', { query: { state: 'registered', limit: PAGE, ...(after === undefined ? {} : { after }) } }),
  );
  return items.map(({ id }) => id);
}

async function ticketDirectory({ options }: Context, out: string | undefined): Promise<string> {
  const directory = path.resolve(out ?? dataDirectory(options.data).tickets);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (!(await stat(directory)).isDirectory())
    throw new CroupierError('input.invalid', `${directory} is not a directory`);
  return directory;
}

const Done = z.object({ expiresAt: z.string() });

/** A ticket that waits for approval is valid from then on: the file says the latest time that this can lead to. */
async function expiryOf(answer: CommandAnswer, api: ApiClient): Promise<string> {
  if (answer.state === 'done')
    return parseWith(Done, answer.result, 'json.malformed', 'answer to device.ticket').expiresAt;
  const { policy } = await api.call('policy.show', {});
  const validity = policy === null ? 0 : parsePolicy(policy.document).tickets.validity;
  return new Date(Date.parse(answer.approval.expiresAt) + validity).toISOString();
}

function report(
  { paint }: Context,
  files: readonly { readonly device: string; readonly code: string; readonly file: string }[],
  answer: CommandAnswer,
  expiresAt: string,
  showCode: boolean,
): Outcome {
  const tickets = files.map(({ device, file, code }) => ({ device, file, ...(showCode ? { code } : {}) }));
  const rows = files.map(({ device, file, code }): Cell[] => [device, file, ...(showCode ? [code] : [])]);
  const listing = table(['DEVICE', 'TICKET', ...(showCode ? ['CODE'] : [])], rows, paint);
  const made = countOf(files.length, 'ticket');
  const note =
    answer.state === 'done'
      ? `${made}, valid until ${expiresAt}\n`
      : `${made} written; they become valid when the request is approved\n${describeAsked(answer.approval)}`;
  return { document: { ...answer, expiresAt, tickets }, text: listing + note };
}
