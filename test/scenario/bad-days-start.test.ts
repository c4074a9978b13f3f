/** A gateway that cannot start says why, in the words of the catalogue, and leaves nothing behind that keeps the next one from it. */
import { createServer, type AddressInfo } from 'node:net';
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway } from '#gateway/main.ts';
import { writeConfig } from '#gateway/installation/config-file.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { Config } from '#schema/config.ts';
import { buildCasino, type Casino } from '#test/support/casino.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

let casino: Casino;

beforeAll(async () => {
  casino = await buildCasino({ floor: {} });
});

afterAll(() => casino.close());

const start = (listen: Partial<Config['listen']> = {}) =>
  startGateway({ directory: casino.data.root, listen, log: silentLog });

/** The twin of every refusal here: the same installation, without the fault. */
async function startsAndStops(): Promise<void> {
  const gateway = await start();
  expect(gateway.run.ports.est).toBeGreaterThan(0);
  await gateway.close();
}

const document = (hsm: Partial<Config['hsm']>) => {
  const { realm, operator, names, listen } = casino.config;
  return { realm, operator, names, listen, hsm: { ...casino.config.hsm, ...hsm } };
};

describe('given an installation whose HSM cannot be used', () => {
  test.each([
    ['the module is missing', { module: '/usr/lib/softhsm/no-such-module.so' }, 'hsm.module-missing', /no-such-module/],
    ['there is no such token', { token: 'another-token' }, 'hsm.token-absent', /another-token/],
  ] as const)(
    'when %s, then the start is refused by name, and works once that is mended',
    async (_, hsm, code, words) => {
      await writeConfig(casino.data, document(hsm));
      const refusal = await expectRefusal(code, () => start());
      expect(refusal.message).toMatch(words);
      expect(refusal.remedy.length).toBeGreaterThan(10);
      await writeConfig(casino.data, document({}));
      await startsAndStops();
    },
  );

  test('when the PIN is wrong, then it is refused and not told, and works with the right one', async () => {
    const right = `${casino.data.hsmPin}.right`;
    await rename(casino.data.hsmPin, right);
    await writeFile(casino.data.hsmPin, 'wrong-pin-of-a-test', { mode: 0o600 });
    const refusal = await expectRefusal('hsm.pin-wrong', () => start());
    expect(JSON.stringify([refusal.message, refusal.detail, refusal.stack])).not.toContain('wrong-pin-of-a-test');
    await rename(right, casino.data.hsmPin);
    await startsAndStops();
  });

  test('when the PIN file is missing, then it is named', async () => {
    const pinFile = path.join(casino.data.hsm, 'no-pin-here');
    await writeConfig(casino.data, document({ pinFile }));
    const refusal = await expectRefusal('config.missing', () => start());
    expect(refusal.message).toContain(pinFile);
    await writeConfig(casino.data, document({}));
    await startsAndStops();
  });
});

describe('given a port that is taken', () => {
  test.each(['est', 'mqtt', 'api', 'public'] as const)(
    'when it is that of %s, then the start is refused, names it, and frees everything else',
    async (name) => {
      const occupant = createServer();
      await new Promise<void>((resolve) => occupant.listen(0, '127.0.0.1', resolve));
      const { port } = occupant.address() as AddressInfo;
      try {
        const refusal = await expectRefusal('port.in-use', () => start({ [name]: port }));
        expect(refusal.message).toContain(String(port));
        await startsAndStops();
      } finally {
        await new Promise((resolve) => occupant.close(resolve));
      }
    },
  );
});

describe('given a data directory that another gateway uses', () => {
  test('when a second one starts, then it is refused and names the first; a killed one is in nobody’s way', async () => {
    const other = await buildCasino({ floor: {}, child: true });
    try {
      await other.startGateway();
      const { pid } = other.gateway.run;
      const refusal = await expectRefusal('data.in-use', () =>
        startGateway({ directory: other.data.root, log: silentLog }),
      );
      expect(refusal.message).toContain(String(pid));
      await other.restartGateway('kill');
      expect(other.gateway.run.pid).not.toBe(pid);
    } finally {
      await other.close();
    }
  });

  test('when there is no installation, then it says how to make one', async () => {
    const refusal = await expectRefusal('config.missing', () =>
      startGateway({ directory: path.join(casino.data.root, 'nothing'), log: silentLog }),
    );
    expect(refusal.message).toContain('croupier init');
  });
});
