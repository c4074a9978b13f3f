import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkpointBody } from '#gateway/audit/checkpoint.ts';
import { recordHash } from '#gateway/audit/chain.ts';
import { linesOf } from '#gateway/audit/lines.ts';
import { verifyExport, type ExportTrust } from '#gateway/audit/verify-export.ts';
import { signMessage, type MessageSigner } from '#pki/cms/sign.ts';
import { AuditExportLine, type AuditRecord } from '#schema/audit.ts';
import { Sha256 } from '#schema/ids.ts';
import { canonicalJson } from '#schema/runtime/canonical-json.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { createTestPki } from '#test/support/test-pki.ts';
import { operationalSigner, startTrail, type Trail } from './trail.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const parse = (line: string): AuditExportLine => AuditExportLine.parse(JSON.parse(line));
const print = (line: AuditExportLine): string => canonicalJson(line);

describe('verification of an exported audit trail', () => {
  let trail: Trail;
  /** head, 1, 2, 3, checkpoint of 3, 4, 5, checkpoint of 5, 6 */
  let file: readonly string[];
  let pin: ExportTrust;
  beforeAll(async () => {
    trail = await startTrail();
    await trail.write(3);
    await trail.checkpointer.seal();
    await trail.write(2);
    await trail.checkpointer.seal();
    await trail.write(1);
    file = await trail.exported();
    pin = { rootFingerprint: sha256(trail.pki.root.certificate) };
  });
  afterAll(() => trail.close());

  const broken = async (lines: readonly string[], what: RegExp, trust: ExportTrust = pin): Promise<void> => {
    const refusal = await expectRefusal('audit.broken', () => verifyExport(lines, trust));
    expect(refusal.message).toMatch(what);
  };
  /** The file with one line replaced, or left out. */
  const changed = (index: number, change: (line: AuditExportLine) => AuditExportLine | undefined): string[] =>
    file.flatMap((line, at) => {
      if (at !== index) return [line];
      const replaced = change(parse(line));
      return replaced === undefined ? [] : [print(replaced)];
    });
  const changedRecord = (index: number, change: (record: AuditRecord) => AuditRecord): string[] =>
    changed(index, (line) => (line.kind === 'record' ? { ...line, record: change(line.record) } : line));
  const rehashed = (record: AuditRecord): AuditRecord => {
    const { hash: _, ...body } = record;
    return { ...body, hash: Sha256.parse(recordHash(body)) };
  };

  test('the file as it was written verifies, and the result says what that proves', async () => {
    const checkpoints = await trail.store.checkpoints(0, 10);
    const last = checkpoints.at(-1);
    expect(await verifyExport(file, pin)).toEqual({
      realm: 'test',
      exportedAt: trail.clock.now().toISOString(),
      first: 1,
      last: 6,
      records: 6,
      fromTheStart: true,
      head: (await trail.store.auditHead()).hash,
      checkpoints: 2,
      sealed: { seq: 5, time: trail.clock.now().toISOString(), sha256: last?.sha256 },
      unsealed: 1,
      root: { fingerprint: pin.rootFingerprint, pinned: true },
      knownRecordFound: undefined,
    });
    expect((await verifyExport(file, { root: trail.pki.root.certificate })).root.pinned).toBe(true);
  });

  describe('the root', () => {
    test('without a pin the result says that the signatures prove nothing about who made them', async () => {
      expect((await verifyExport(file)).root).toEqual({ fingerprint: pin.rootFingerprint, pinned: false });
    });

    test('a pin that is not the root of the file is refused', async () => {
      await expectRefusal('trust.root-mismatch', () => verifyExport(file, { rootFingerprint: '0'.repeat(64) }));
      const other = await createTestPki({ realm: 'test' });
      await expectRefusal('trust.root-mismatch', () => verifyExport(file, { root: other.root.certificate }));
    });

    test('while the root of a realm is replaced, either of its two is a pin for the one of the file', async () => {
      const other = await createTestPki({ realm: 'test' });
      const root = [other.root.certificate, trail.pki.root.certificate];
      expect((await verifyExport(file, { root })).root).toEqual({ fingerprint: pin.rootFingerprint, pinned: true });
      await expectRefusal('trust.root-mismatch', () => verifyExport(file, { root: [other.root.certificate] }));
    });

    test('a file whose root line was replaced fails at its first checkpoint even without a pin', async () => {
      const other = await createTestPki({ realm: 'test' });
      const root = Buffer.from(other.root.certificate).toString('base64');
      const lines = changed(0, (line) => (line.kind === 'head' ? { ...line, root } : line));
      await broken(lines, /line 5: the checkpoint is not signed as it must be/, {});
    });
  });

  describe('altered', () => {
    test('a member of a record', async () => {
      await broken(
        changedRecord(2, (record) => ({ ...record, outcome: 'denied' })),
        /line 3: .*its hash is not that of its content/,
      );
    });

    test('a record with its hash made to fit', async () => {
      await broken(
        changedRecord(2, (record) => rehashed({ ...record, outcome: 'denied' })),
        /line 4: .*hash of the record before/,
      );
    });

    test('the last sealed record with its hash made to fit: the checkpoint tells', async () => {
      await broken(
        changedRecord(3, (record) => rehashed({ ...record, outcome: 'denied' })),
        /line 5: record 3 is not the one that the checkpoint seals/,
      );
    });

    test('a member that no hash covers, white space, a second member of the same name', async () => {
      const line = file[2] ?? '';
      for (const other of [
        line.replace('{"kind"', '{"extra":1,"kind"'),
        line.replace('{', '{ '),
        line.replace('"outcome":"success"', '"outcome":"denied","outcome":"success"'),
      ]) {
        expect(other).not.toBe(line);
        await broken(
          [...file.slice(0, 2), other, ...file.slice(3)],
          /line 3: it is not in the form in which it was written/,
        );
      }
    });

    test('the realm of the file', async () => {
      const [head = '', ...rest] = file;
      await broken(
        [head.replace('"realm":"test"', '"realm":"prod"'), ...rest],
        /line 2: record 1 belongs to the realm test/,
      );
    });

    test('lines that are none', async () => {
      await broken([...file, ''], /line 10/);
      await broken([...file.slice(0, 2), 'not JSON', ...file.slice(2)], /line 3: .*it is not JSON/);
      await broken([], /empty/);
      await broken(file.slice(1), /line 1: the file does not start with its head line/);
      await broken([file[0] ?? '', ...file], /line 2: a second head line/);
    });
  });

  describe('records left out, cut off or in another order', () => {
    test('one left out', async () => {
      await broken(
        changed(2, () => undefined),
        /line 3: .*records are missing or out of order/,
      );
    });

    test('the first ones left out', async () => {
      await broken([file[0] ?? '', ...file.slice(2)], /line 2/);
    });

    test('two changed places', async () => {
      const [head = '', one = '', two = '', ...rest] = file;
      await broken([head, two, one, ...rest], /line 2: .*missing or out of order/);
    });

    test('one twice', async () => {
      await broken([...file.slice(0, 3), file[2] ?? '', ...file.slice(3)], /line 4/);
    });

    test('numbered anew after one was left out', async () => {
      const kept = file
        .map(parse)
        .flatMap((line) => (line.kind === 'record' ? [line.record] : []))
        .filter(({ seq }) => seq !== 2);
      const renumbered: string[] = [];
      let prevHash = kept[0]?.prevHash ?? Sha256.parse('0'.repeat(64));
      for (const [index, record] of kept.entries()) {
        const next = rehashed({ ...record, seq: index + 1, prevHash });
        prevHash = next.hash;
        renumbered.push(print({ kind: 'record', record: next }));
      }
      const [head = ''] = file;
      const five = head.replace('"last":6', '"last":5');
      await broken(
        [five, ...renumbered.slice(0, 3), file[4] ?? '', ...renumbered.slice(3)],
        /line 5: record 3 is not the one that the checkpoint seals/,
      );
      // Without its checkpoints nothing signed is left, and the result says so.
      expect(await verifyExport([five, ...renumbered], pin)).toMatchObject({ sealed: undefined, unsealed: 5 });
    });

    test('cut off', async () => {
      await broken(file.slice(0, 6), /the file ends at record 4, but it was exported up to 6/);
      await broken(file.slice(0, 1), /the file ends at record 0/);
    });

    test('cut off with a head line to fit: what was noted elsewhere tells', async () => {
      const [head = ''] = file;
      const cut = [head.replace('"last":6', '"last":3'), ...file.slice(1, 5)];
      expect(await verifyExport(cut, pin)).toMatchObject({ last: 3, sealed: { seq: 3 } });
      const noted = checkpointBody((await trail.store.latestCheckpoint())?.cms ?? Buffer.of());
      const known = { seq: noted.seq, hash: noted.hash };
      await broken(cut, /does not hold record 5, which was noted/, { ...pin, known });
      expect((await verifyExport(file, { ...pin, known })).knownRecordFound).toBe(true);
      await broken(file, /line 7: record 5 is not the one that was noted/, {
        ...pin,
        known: { seq: 5, hash: '0'.repeat(64) },
      });
    });
  });

  describe('checkpoints', () => {
    const resigned = async (index: number, signer: MessageSigner, at = trail.clock.now()): Promise<string[]> => {
      const line = parse(file[index] ?? '');
      if (line.kind !== 'checkpoint') throw new Error('that is no checkpoint');
      const body = { ...checkpointBody(Buffer.from(line.cms, 'base64')), time: at.toISOString() };
      const cms = await signMessage(Buffer.from(canonicalJson(body)), signer);
      return changed(index, () => ({ kind: 'checkpoint', cms: Buffer.from(cms).toString('base64') }));
    };

    test('one left out breaks the next', async () => {
      await broken(
        changed(4, () => undefined),
        /line 7: the checkpoint follows one that is missing/,
      );
    });

    test('behind another record than the one it seals', async () => {
      const lines = [...file.slice(0, 4), ...file.slice(5, 6), ...file.slice(4, 5), ...file.slice(6)];
      await broken(lines, /line 6: the checkpoint seals record 3, but stands behind 4/);
    });

    test('before the first record', async () => {
      await broken(
        [file[0] ?? '', file[4] ?? '', ...file.slice(1)],
        /line 2: a checkpoint stands before the first record/,
      );
    });

    test('with one bit changed', async () => {
      const lines = changed(4, (line) => {
        const cms = Buffer.from(line.kind === 'checkpoint' ? line.cms : '', 'base64');
        cms.writeUInt8((cms.at(-1) ?? 0) ^ 1, cms.length - 1);
        return { kind: 'checkpoint', cms: cms.toString('base64') };
      });
      await broken(lines, /line 5: the checkpoint is not signed as it must be/);
    });

    test('signed again by the audit key is accepted, by a message signer of the same realm it is not', async () => {
      const again = await resigned(7, trail.signer);
      expect((await verifyExport(again, pin)).checkpoints).toBe(2);
      const messageSigner = await operationalSigner(trail.pki, 'message-signer', 'message-signer-1');
      await broken(
        await resigned(7, messageSigner),
        /line 8: the checkpoint is not signed as it must be: the signer is not trusted/,
      );
    });

    test('signed by the audit key of another realm', async () => {
      const other = await createTestPki({ realm: 'test' });
      const thief = await operationalSigner(other, 'audit-signer', 'audit-signer-1');
      await broken(await resigned(7, thief), /line 8: the checkpoint is not signed as it must be/);
    });

    test('signed when the certificate of the signer was not valid', async () => {
      const years = new Date(trail.clock.now().getTime() + 400 * 86_400_000);
      await broken(await resigned(7, trail.signer, years), /line 8: .*expired/);
    });
  });

  test('a file that starts later verifies and says that it does', async () => {
    const result = await verifyExport(await trail.exported(4), pin);
    expect(result).toMatchObject({
      first: 4,
      last: 6,
      records: 3,
      fromTheStart: false,
      sealed: { seq: 5 },
      unsealed: 1,
    });
    const sixth = await verifyExport(await trail.exported(6), pin);
    expect(sixth).toMatchObject({ first: 6, records: 1, sealed: undefined, unsealed: 1 });
  });
});

describe('lines of a file', () => {
  const lines = async (chunks: readonly (string | Uint8Array)[], limit?: number): Promise<string[]> => {
    const found: string[] = [];
    const bytes = async function* () {
      for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    };
    for await (const line of linesOf(bytes(), limit)) found.push(line);
    return found;
  };

  test('are put together whatever the chunks, with and without a last line feed', async () => {
    expect(await lines(['a', 'b\nc\n\nd', '', 'e\n'])).toEqual(['ab', 'c', '', 'de']);
    expect(await lines(['a\nb'])).toEqual(['a', 'b']);
    expect(await lines([Buffer.from('ü\n').subarray(0, 1), Buffer.from('ü\n').subarray(1)])).toEqual(['ü']);
    expect(await lines([])).toEqual([]);
  });

  test('have a limit, and are UTF-8', async () => {
    expect(await lines(['abc\nabc'], 3)).toEqual(['abc', 'abc']);
    await expectRefusal('input.too-large', () => lines(['ab', 'cd'], 3));
    await expectRefusal('audit.broken', () => lines([Buffer.from([0xff, 0x0a])]));
  });
});
