/** Tickets as an engineer makes them: the codes are made here, and only their hashes travel. */
import { hash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Sha256, Timestamp, type DeviceId } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import { Ticket, TicketCode } from '#schema/ticket.ts';
import type { Operators } from './operators.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CODE_SYMBOLS = 20;
const SALT_OCTETS = 16;
/** As many as one request may carry. */
const BATCH = 10_000;

const Issued = z.object({ expiresAt: Timestamp });

function makeCode(): string {
  const symbols = Array.from(randomBytes(CODE_SYMBOLS), (octet) => ALPHABET[octet % ALPHABET.length] ?? '0').join('');
  return TicketCode.parse(symbols.match(/.{5}/g)?.join('-'));
}

/** Asks for tickets, has them approved where that is needed, and returns them with their codes. Errors: those of the gateway. */
export async function issueTickets(operators: Operators, devices: readonly DeviceId[]): Promise<readonly Ticket[]> {
  const issued: Ticket[] = [];
  for (let start = 0; start < devices.length; start += BATCH) {
    const made = devices.slice(start, start + BATCH).map((device) => {
      const code = makeCode();
      const salt = randomBytes(SALT_OCTETS);
      const codeHash = Sha256.parse(hash('sha256', Buffer.concat([salt, Buffer.from(code)]), 'hex'));
      return { code, request: { device, salt: salt.toString('hex'), codeHash } };
    });
    const { client } = operators.as('device-engineer');
    const tickets = made.map(({ request }) => request);
    const { answer, info } = await client.call('device.ticket', { body: { tickets } });
    const { expiresAt } = await operators.complete(answer, Issued);
    for (const { code, request } of made) {
      const ticket = { v: 1, type: 'ticket', device: request.device, code, expiresAt, ...info };
      issued.push(parseWith(Ticket, ticket, 'ticket.invalid', `ticket of ${request.device}`));
    }
  }
  return issued;
}
