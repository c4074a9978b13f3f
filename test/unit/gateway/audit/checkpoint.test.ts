import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkpointBody, createCheckpointer, isSealDue } from '#gateway/audit/checkpoint.ts';
import { exportAudit } from '#gateway/audit/export.ts';
import { verifyMessage } from '#pki/cms/verify.ts';
import { OID } from '#pki/der/oid.ts';
import { silentLog } from '#gateway/ports/log.ts';
import type { StoredCheckpoint } from '#gateway/ports/store/audit.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { OpensslWorkspace } from '#test/support/openssl.ts';
import { REALM } from '#test/support/store-fixtures.ts';
import { waitUntil } from '#test/support/wait-until.ts';
import { encodePem } from '#pki/certificate/pem.ts';
import { startTrail, type Trail } from './trail.ts';

test.each([
  [0, 100_000, false],
  [1, 0, false],
  [1, 59_999, false],
  [1, 60_000, true],
  [999, 0, false],
  [1_000, 0, true],
])('with %i unsealed records and %i ms of waiting, sealing is due: %s', (unsealed, waited, due) => {
  expect(isSealDue(unsealed, waited, { every: 60_000, records: 1_000 })).toBe(due);
});

describe('checkpoints', () => {
  let trail: Trail;
  beforeEach(async () => {
    trail = await startTrail({ records: 10 });
  });
  afterEach(() => trail.close());

  const sealed = async (): Promise<readonly StoredCheckpoint[]> => trail.store.checkpoints(0, 100);
  /** Lets the clock go on, second by second, until there are so many checkpoints. */
  const sealedAfter = async (count: number, seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      trail.clock.advance(1_000);
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    let found = -1;
    const look = (): void => void sealed().then(({ length }) => (found = length));
    await waitUntil(
      () => (look(), found === count),
      () => `${count} checkpoints; there are ${found}`,
    );
  };

  test('the head is sealed once so many records wait, or after so long; nothing is sealed twice', async () => {
    await trail.write(9);
    await sealedAfter(0, 2);
    await trail.write(1);
    await sealedAfter(1, 2);
    await trail.write(1);
    await sealedAfter(1, 5);
    await sealedAfter(2, 60);
    await sealedAfter(2, 120);
    expect((await sealed()).map(({ seq }) => seq)).toEqual([10, 11]);
  });

  test('each names the one before, and is signed for audit alone by a chain to the root', async () => {
    await trail.write(3);
    await trail.checkpointer.seal();
    await trail.write(1);
    await trail.checkpointer.seal();
    const [first, second] = await sealed();
    if (first === undefined || second === undefined) throw new Error('two checkpoints');
    const head = await trail.store.auditHead();
    expect(checkpointBody(first.cms)).toMatchObject({ realm: REALM, seq: 3, previous: null });
    expect(checkpointBody(second.cms)).toMatchObject({ seq: 4, hash: head.hash, previous: first.sha256 });
    const trust = { anchors: [trail.pki.root.certificate], at: trail.clock.now() };
    const limits = { maxBytes: 16_384 };
    expect(verifyMessage(second.cms, { ...trust, extendedKeyUsage: OID.auditSigning }, limits).signers).toHaveLength(1);
    await expectRefusal('message.signer-untrusted', () =>
      verifyMessage(second.cms, { ...trust, extendedKeyUsage: OID.messageSigning }, limits),
    );
  });

  test('stock openssl verifies one with the root alone', async () => {
    await trail.write(1);
    await trail.checkpointer.seal();
    using openssl = new OpensslWorkspace();
    openssl.write('root.pem', encodePem('CERTIFICATE', trail.pki.root.certificate));
    openssl.write('checkpoint.der', (await sealed())[0]?.cms ?? Buffer.of());
    openssl.succeed('cms -verify -inform DER -in checkpoint.der -CAfile root.pem -purpose any -binary -out body.json');
    const other = await startTrail();
    openssl.write('other.pem', encodePem('CERTIFICATE', other.pki.root.certificate));
    await other.close();
    expect(openssl.run('cms -verify -inform DER -in checkpoint.der -CAfile other.pem -purpose any').status).not.toBe(0);
  });

  test('when the HSM is away sealing waits, says so, and is done when it is back', async () => {
    trail.pki.hsm.disconnect('unplugged');
    await trail.write(1);
    await expectRefusal('hsm.unavailable', () => trail.checkpointer.seal());
    await sealedAfter(0, 62);
    expect(trail.logged.some((message) => message.startsWith('audit trail not sealed'))).toBe(true);
    trail.pki.hsm.reconnect();
    await sealedAfter(1, 2);
  });

  test('closing seals what is left', async () => {
    await trail.write(2);
    const { store, clock, signer } = trail;
    const own = createCheckpointer({
      store,
      clock,
      log: silentLog,
      realm: REALM,
      signer: () => signer,
      every: 60_000,
      records: 10,
    });
    await own.close();
    expect((await sealed()).map(({ seq }) => seq)).toEqual([2]);
  });

  test('seals asked for at the same time make one checkpoint', async () => {
    await trail.write(2);
    await Promise.all([trail.checkpointer.seal(), trail.checkpointer.seal(), trail.checkpointer.seal()]);
    expect(await sealed()).toHaveLength(1);
  });

  test('a trail that does not follow its last checkpoint is never signed', async () => {
    await trail.write(3);
    await trail.checkpointer.seal();
    await trail.write(2);
    const { store, clock, signer } = trail;
    const forged = (await store.auditRecords(0, 10)).map((record) => ({ ...record, action: 'test.forged' }));
    const over = (changes: Partial<typeof store>) =>
      createCheckpointer({
        store: { ...store, ...changes },
        clock,
        log: silentLog,
        realm: REALM,
        signer: () => signer,
        every: 60_000,
        records: 10,
      });
    const altered = over({ auditRecords: async (after) => forged.filter(({ seq }) => seq > after) });
    await expectRefusal('audit.broken', () => altered.seal());
    const cut = over({ auditHead: async () => ({ seq: 2, hash: forged[1]?.hash ?? '' }) });
    await expectRefusal('audit.broken', () => cut.seal());
    expect(await sealed()).toHaveLength(1);
    await trail.checkpointer.seal();
    expect(await sealed()).toHaveLength(2);
  });

  test('a trail that is found broken raises one alert, however often it is looked at; once it holds, it is sealed again', async () => {
    await trail.write(2);
    await trail.checkpointer.seal();
    const { store, clock, signer } = trail;
    let isBroken = true;
    let looks = 0;
    const own = createCheckpointer({
      store: {
        ...store,
        auditRecords: async (after, limit) => {
          looks += 1;
          const records = await store.auditRecords(after, limit);
          return isBroken ? records.map((record) => ({ ...record, action: 'test.forged' })) : records;
        },
      },
      clock,
      log: silentLog,
      realm: REALM,
      signer: () => signer,
      every: 60_000,
      records: 1,
    });
    const lookTimes = (times: number): Promise<unknown> => {
      const wanted = looks + times;
      return waitUntil(
        () => {
          clock.advance(1_000);
          return looks >= wanted;
        },
        () => `${times} looks`,
      );
    };
    const alarms = async (): Promise<readonly number[]> =>
      (await store.alerts({ limit: 10 })).map(({ code, occurrences }) => (code === 'audit.broken' ? occurrences : 0));
    await trail.write(1);
    await lookTimes(4);
    expect(await alarms()).toEqual([1]);
    isBroken = false;
    await lookTimes(1);
    await own.close();
    expect((await sealed()).length).toBeGreaterThan(1);
    expect(await alarms()).toEqual([1]);
  });
});

describe('exports', () => {
  let trail: Trail;
  beforeEach(async () => {
    trail = await startTrail();
  });
  afterEach(() => trail.close());

  const kinds = (lines: readonly string[]): string[] => lines.map((line) => JSON.parse(line).kind);

  test('a head line, then records, each checkpoint behind the record that it seals', async () => {
    await trail.write(2);
    await trail.checkpointer.seal();
    await trail.write(1);
    expect(kinds(await trail.exported())).toEqual(['head', 'record', 'record', 'checkpoint', 'record']);
    expect(kinds(await trail.exported(3))).toEqual(['head', 'record']);
  });

  test('many pages, and what is written meanwhile stays out', async () => {
    await trail.write(1_203);
    const ports = { store: trail.store, clock: trail.clock, realm: REALM, root: () => trail.pki.root.certificate };
    let records = 0;
    for await (const line of exportAudit(ports)) {
      if (line.kind === 'record') records += 1;
      if (records === 1) await trail.write(1);
    }
    expect(records).toBe(1_203);
  });

  test('what is unsealed is sealed first, where that is possible', async () => {
    await trail.write(1);
    const ports = {
      store: trail.store,
      clock: trail.clock,
      realm: REALM,
      root: () => trail.pki.root.certificate,
      seal: () => trail.checkpointer.seal(),
    };
    const found: string[] = [];
    for await (const { kind } of exportAudit(ports)) found.push(kind);
    expect(found).toEqual(['head', 'record', 'checkpoint']);
    await trail.write(1);
    trail.pki.hsm.disconnect('unplugged');
    found.length = 0;
    for await (const { kind } of exportAudit(ports)) found.push(kind);
    trail.pki.hsm.reconnect();
    expect(found).toEqual(['head', 'record', 'checkpoint', 'record']);
  });

  test('a first record that is not there yet is refused', async () => {
    await trail.write(1);
    await expectRefusal('input.invalid', () => trail.exported(2));
  });
});
