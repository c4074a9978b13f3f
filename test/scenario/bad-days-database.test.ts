/** The database cannot be written for a while: nothing is promised that is not stored, nothing reported is lost. */
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, test } from 'vitest';
import { buildCasino, startCasino, type Casino } from '#test/support/casino.ts';
import { freshCsr, requestCertificate } from '#test/support/est-request.ts';

const run = promisify(execFile);
let casino: Casino;

afterEach(() => casino.close());

/** What must hold while nothing can be written, and once it can be again. */
async function survives(fault: { begin(): Promise<void>; end(): Promise<void> }): Promise<void> {
  const { ticket } = casino.device('egm-2');
  if (ticket === undefined) throw new Error('egm-2 has no ticket');
  const csr = await freshCsr('egm-2');
  const { counter } = (await casino.detail('egm-1')).sync;
  await fault.begin();

  const putOff = await requestCertificate(ticket, csr);
  expect(putOff, putOff.body).toMatchObject({ status: 503 });
  expect(Number(putOff.retryAfter)).toBeGreaterThan(0);
  await casino.device('egm-1').run.agent.report();
  const told = casino.device('egm-1').run.agent.status().reportCounter;
  expect(told).toBeGreaterThan(counter);

  await fault.end();
  await casino.until(
    async () => (await casino.detail('egm-1')).sync.counter === told,
    () => `report ${told} of egm-1, which the broker acknowledged meanwhile`,
  );
  expect(await casino.certificatesOf('egm-2'), 'what was refused left nothing behind').toEqual([]);
  expect(await requestCertificate(ticket, csr)).toMatchObject({ status: 200 });
  await casino.rotateUntil('active');
  await casino.untilConverged('egm-1', 'service-1');
  await casino.auditRecords();
}

async function floorIsOn(): Promise<void> {
  for (const id of ['egm-1', 'service-1']) await casino.device(id).on();
  await casino.untilConverged('egm-1', 'service-1');
}

describe('given a gateway whose database', () => {
  test('is locked by another process for a while, then requests are put off and reports wait', async () => {
    casino = await startCasino({
      floor: { egm: 2, service: 1 },
      child: true,
      config: { store: { busyTimeout: '100ms' } },
    });
    await floorIsOn();
    const other = new Database(casino.config.store.path);
    try {
      await survives({
        begin: async () => void other.exec('BEGIN IMMEDIATE'),
        end: async () => void other.exec('ROLLBACK'),
      });
    } finally {
      other.close();
    }
  });

  const mounted = async (directory: string): Promise<boolean> =>
    run('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=0700', 'croupier-test', directory]).then(
      () => true,
      () => false,
    );

  test('has no room left on its disk, then requests are put off and reports wait', async (context) => {
    let canMount = false;
    casino = await buildCasino({
      floor: { egm: 2, service: 1 },
      prepare: async (directory) => {
        canMount = await mounted(directory);
      },
      cleanUp: async (directory) => {
        if (canMount) await run('umount', ['--lazy', directory]);
      },
    });
    if (!canMount) return context.skip('a file system of a few megabytes can be mounted by root alone');
    await casino.startGateway();
    await floorIsOn();
    const ballast = path.join(casino.data.root, 'ballast');
    await survives({
      begin: async () => {
        // In small pieces at the end, so that not one page is left.
        await writeFile(ballast, '');
        for (let size = 1_048_576; size >= 512; size = Math.floor(size / 2)) {
          for (let full = false; !full;) {
            await writeFile(ballast, Buffer.alloc(size), { flag: 'a' }).catch(() => {
              full = true;
            });
          }
        }
      },
      end: () => rm(ballast),
    });
  });
});
