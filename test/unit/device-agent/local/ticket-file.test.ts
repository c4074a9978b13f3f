import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTicketFile } from '#agent/local/ticket-file.ts';

const now = new Date('2026-01-01T00:00:00.000Z');
const code = 'ABCDE-FGHJK-MNPQR-STVWX';
const ticket = {
  v: 1,
  type: 'ticket',
  realm: 'test',
  device: 'egm-0001',
  code,
  expiresAt: '2026-01-01T00:00:00.001Z',
  est: 'https://gateway:8443',
  mqtt: 'mqtts://gateway:8883',
  public: 'http://gateway:8080',
  root: 'ab'.repeat(32),
};

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'croupier-ticket-'));
  path = join(directory, 'egm-0001.ticket');
});
afterEach(() => rmSync(directory, { recursive: true }));

const write = (content: string, mode = 0o600): void => {
  writeFileSync(path, content);
  chmodSync(path, mode);
};

test('given a ticket that only its owner can read, then it is read', async () => {
  write(JSON.stringify(ticket));
  expect(await readTicketFile(path, now)).toEqual(ticket);
});

describe('given a file that others can read', () => {
  test.each([0o644, 0o640, 0o604])('then it is refused (%o) with what to do, and read once closed', async (mode) => {
    write(JSON.stringify(ticket), mode);
    await expect(readTicketFile(path, now)).rejects.toThrow(/can be read by others .*chmod 600/);
    chmodSync(path, 0o600);
    expect((await readTicketFile(path, now)).device).toBe('egm-0001');
  });
});

describe('given something that is no usable ticket', () => {
  test.each([
    ['missing', undefined, 'config.missing', /there is no ticket file/],
    ['empty', '', 'ticket.invalid', /it is not JSON/],
    ['not JSON', `code=${code}`, 'ticket.invalid', /it is not JSON/],
    ['of another kind', JSON.stringify({ ...ticket, type: 'update' }), 'ticket.invalid', /type/],
    ['of a future version', JSON.stringify({ ...ticket, v: 2 }), 'ticket.invalid', /v: /],
    ['without a code', JSON.stringify({ ...ticket, code: undefined }), 'ticket.invalid', /code/],
    [
      'with a mistyped code',
      JSON.stringify({ ...ticket, code: `${code}U` }),
      'ticket.invalid',
      /code: not a one-time code/,
    ],
    [
      'with plain HTTP for enrolment',
      JSON.stringify({ ...ticket, est: 'http://gateway:8443' }),
      'ticket.invalid',
      /est/,
    ],
    [
      'expired',
      JSON.stringify({ ...ticket, expiresAt: now.toISOString() }),
      'ticket.invalid',
      /expired at 2026-01-01T00:00:00.000Z/,
    ],
    ['huge', JSON.stringify({ ...ticket, note: 'x'.repeat(20_000) }), 'ticket.invalid', /exceeds 16384 octets/],
  ])('when it is %s, then the error says so and quotes no code', async (_, content, errorCode, message) => {
    if (content !== undefined) write(content);
    const refusal = await readTicketFile(path, now).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: errorCode, message: expect.stringMatching(message) });
    expect(String(refusal)).toContain(path);
    expect(String(refusal)).not.toContain(code);
  });

  test('when it is a directory, then the error says so', async () => {
    chmodSync(directory, 0o700);
    await expect(readTicketFile(directory, now)).rejects.toThrow(/is not a file/);
  });
});
