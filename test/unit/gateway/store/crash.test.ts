import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { verifyChain } from '#gateway/audit/chain.ts';
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import { deviceId, REALM } from '#test/support/store-fixtures.ts';
import { temporaryDirectory } from './directories.ts';

const WRITER = fileURLToPath(new URL('crash-writer.ts', import.meta.url));

/** Runs the writer until it has told of `batches` durable batches, then kills it while it writes on. */
async function killedAfter(path: string, batches: number): Promise<number> {
  const child = spawn(process.execPath, [WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  let told = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    told = Number(line);
    if (told >= batches) child.kill('SIGKILL');
  }
  const [, signal] = await exited;
  expect(signal).toBe('SIGKILL');
  return told;
}

describe('a store whose process is killed while it commits', () => {
  it.each([1, 7, 40])(
    'given %i batches that were answered, when it is opened again, then they are whole and nothing is half done',
    async (batches) => {
      const path = join(temporaryDirectory(), 'croupier.db');
      const told = await killedAfter(path, batches);
      const store = await openSqliteStore({ path, realm: REALM, busyTimeoutMs: 1_000 });
      try {
        const records = await store.auditRecords(0, 100_000);
        expect(verifyChain(records)).toEqual(await store.auditHead());
        const details = await Promise.all(
          Array.from({ length: 8 }, async (_, index) => store.device(deviceId(`egm-${index}`))),
        );
        const counters = new Set(details.map((detail) => detail?.sync.counter));
        expect(counters.size, 'all devices of a batch stand at the same report').toBe(1);
        const counter = [...counters][0] ?? 0;
        expect(counter).toBeGreaterThanOrEqual(told);
        const reported = records.filter(({ action }) => action === 'device.report');
        expect(reported).toHaveLength(counter * 8);
        const state = counter % 2 === 0 ? 'stored' : 'active';
        expect(details.map((detail) => [detail?.versions[0]?.state, detail?.targets[0]?.state])).toEqual(
          details.map(() => [state, state]),
        );
      } finally {
        await store.close();
      }
    },
  );
});
