/**
 * I2 on a whole floor: after enrolment, delivery, a wrong code and a rotation, no clear working key, code or PIN stands in
 * any file of the gateway or of a device, in the log or in the audit trail.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KeySetName, KeyVersionNumber } from '#schema/ids.ts';
import { startCasino, type Casino } from '#test/support/casino.ts';
import { freshCsr, requestCertificate } from '#test/support/est-request.ts';

let casino: Casino;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 3, service: 1 }, disk: true });
  await casino.allOn();
  await casino.untilConverged();
  await casino.rotateUntil('active');
  await casino.untilConverged();
}, 60_000);

afterAll(() => casino.close());

interface Secret {
  readonly what: string;
  readonly forms: readonly Buffer[];
}

/** As it is, and as text encodings would show it. */
function inAllForms(what: string, bytes: Uint8Array): Secret {
  const raw = Buffer.from(bytes);
  const encodings = (['hex', 'base64', 'base64url'] as const).map((encoding) =>
    Buffer.from(raw.toString(encoding).replace(/=+$/, '')),
  );
  return { what, forms: [raw, Buffer.from(raw.toString('hex').toUpperCase()), ...encodings] };
}

function workingKeys(): readonly Secret[] {
  const found: Secret[] = [];
  for (const device of casino.devices.values()) {
    const { view } = device.run.agent;
    for (const ring of view.keyrings()) {
      for (const { version } of ring.versions) {
        const key = view.keyBytes(KeySetName.parse(ring.keySet), KeyVersionNumber.parse(version));
        if (key !== undefined) found.push(inAllForms(`${device.id} ${ring.keySet} ${version}`, key));
      }
    }
  }
  return found;
}

function codes(): readonly Secret[] {
  return [...casino.devices.values()].flatMap(({ id, ticket }) => {
    if (ticket === undefined) return [];
    const forms = [
      ticket.code,
      ticket.code.replaceAll('-', ''),
      Buffer.from(`${id}:${ticket.code}`).toString('base64'),
    ];
    return [{ what: `code of ${id}`, forms: forms.map((text) => Buffer.from(text)) }];
  });
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

function leaks(secrets: readonly Secret[], place: string, content: Buffer): readonly string[] {
  return secrets
    .filter(({ forms }) => forms.some((form) => content.includes(form)))
    .map(({ what }) => `${what} in ${place}`);
}

test('given a floor that has enrolled and rotated, then no secret of it is in a file, in the log or in the audit trail (I2)', async () => {
  const ticket = casino.device('egm-1').ticket;
  if (ticket === undefined) throw new Error('egm-1 has no ticket');
  const wrong = await requestCertificate(ticket, await freshCsr('egm-1'));
  expect(wrong.status, 'a used code is refused').toBe(401);

  const pin = (await readFile(casino.data.hsmPin, 'utf8')).trim();
  const secrets = [...workingKeys(), ...codes(), { what: 'PIN', forms: [Buffer.from(pin)] }];
  // Four devices: two versions of the shared key each, and of the machines one key of their own.
  expect(secrets).toHaveLength(4 * 2 + 3 + 4 + 1);

  const found: string[] = [];
  for (const file of await filesBelow(path.dirname(casino.data.root))) {
    if (file === casino.data.hsmPin) continue;
    found.push(...leaks(secrets, file, await readFile(file)));
  }
  found.push(...leaks(secrets, 'the log', Buffer.from(JSON.stringify(casino.log))));
  found.push(...leaks(secrets, 'the audit trail', Buffer.from(JSON.stringify(await casino.auditRecords()))));
  found.push(...leaks(secrets, 'the answer', Buffer.from(JSON.stringify(wrong))));
  expect(found).toEqual([]);
  expect(leaks(secrets, 'the PIN file', await readFile(casino.data.hsmPin)), 'the search finds what is there').toEqual([
    'PIN in the PIN file',
  ]);
});
