/** The ticket file: it holds a one-time code, so it is read only when nobody else can read it. */
import { open, type FileHandle } from 'node:fs/promises';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { parseJson } from '#schema/parse.ts';
import { Ticket } from '#schema/ticket.ts';

const MAX_OCTETS = 16 * 1024;

/**
 * Errors: `config.missing` for no file; `ticket.invalid` when it is open to others, no ticket, or expired by the clock
 * of this device. No message quotes what the file holds.
 */
export async function readTicketFile(path: string, now: Date): Promise<Ticket> {
  const file = await openTicket(path);
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new CroupierError('ticket.invalid', `the ticket ${path} is not a file`);
    if ((info.mode & 0o077) !== 0) {
      const mode = (info.mode & 0o777).toString(8);
      throw new CroupierError(
        'ticket.invalid',
        `the ticket ${path} can be read by others (mode ${mode}): run chmod 600 ${path}, and ask for a new ticket if somebody may have seen it`,
      );
    }
    if (info.size > MAX_OCTETS)
      throw new CroupierError('ticket.invalid', `the ticket ${path} exceeds ${MAX_OCTETS} octets`);
    const ticket = parseJson(Ticket, await file.readFile('utf8'), 'ticket.invalid', `the ticket ${path}`);
    if (Date.parse(ticket.expiresAt) <= now.getTime()) {
      throw new CroupierError(
        'ticket.invalid',
        `the ticket ${path} expired at ${ticket.expiresAt}; the clock of this device says ${now.toISOString()}`,
      );
    }
    return ticket;
  } finally {
    await file.close();
  }
}

async function openTicket(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw missing
      ? new CroupierError(
          'config.missing',
          `there is no ticket file ${path}; name the file that the device engineer handed out`,
          { cause: error },
        )
      : new CroupierError('ticket.invalid', `the ticket ${path} cannot be opened: ${errorMessage(error)}`, {
          cause: error,
        });
  }
}
