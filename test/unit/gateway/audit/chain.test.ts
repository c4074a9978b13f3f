import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AUDIT_GENESIS, type AuditRecord } from '#schema/audit.ts';
import { CHAIN_START, nextRecord, recordHash, verifyChain } from '#gateway/audit/chain.ts';
import { Realm } from '#schema/ids.ts';
import { expectRefusal } from '#test/support/expect-error.ts';
import { event, REALM, second } from '#test/support/store-fixtures.ts';

const ID = '01890a5d-ac96-774b-bcce-b302099a8057';

function chainOf(count: number): AuditRecord[] {
  const records: AuditRecord[] = [];
  for (let seq = 1; seq <= count; seq += 1)
    records.push(nextRecord(records.at(-1) ?? CHAIN_START, event(`step.${seq}`), second(seq), ID, REALM));
  return records;
}

/** The same record with its hash made to fit, as somebody would who rewrites history. */
function forged(record: AuditRecord, over: Partial<AuditRecord>): AuditRecord {
  const { hash: _, ...body } = { ...record, ...over };
  return { ...body, hash: recordHash(body) };
}

describe('nextRecord', () => {
  it('given the empty chain, when an event is added, then its hash is SHA-256 over the canonical JSON without the hash', () => {
    const record = nextRecord(CHAIN_START, event('gateway.start', { details: { b: 1, a: 'é' } }), second(0), ID, REALM);
    const canonical =
      '{"action":"gateway.start","actor":{"id":"test","type":"gateway"},"details":{"a":"é","b":1},"id":"01890a5d-ac96-774b-bcce-b302099a8057",' +
      `"outcome":"success","prevHash":"${AUDIT_GENESIS}","realm":"test","seq":1,"time":"2026-03-01T12:00:00.000Z"}`;
    expect(record.hash).toBe(createHash('sha256').update(canonical).digest('hex'));
    expect(record).toMatchObject({ seq: 1, prevHash: AUDIT_GENESIS, realm: 'test', time: '2026-03-01T12:00:00.000Z' });
  });

  it('given an event that breaks the schema, when it is added, then it is refused; one at the limit is not', async () => {
    const add = (action: string) => nextRecord(CHAIN_START, event(action), second(0), ID, REALM);
    await expectRefusal('internal.unexpected', () => add('x'.repeat(65)));
    expect(add('x'.repeat(64)).seq).toBe(1);
  });
});

describe('verifyChain', () => {
  it('given a whole chain, when it is verified, then its head is the last record; from the middle likewise', () => {
    const records = chainOf(5);
    expect(verifyChain(records)).toEqual({ seq: 5, hash: records[4]?.hash });
    expect(verifyChain(records.slice(3), verifyChain(records.slice(0, 3)))).toEqual({ seq: 5, hash: records[4]?.hash });
    expect(verifyChain([])).toEqual(CHAIN_START);
  });

  const changes: readonly [string, (records: AuditRecord[]) => AuditRecord[]][] = [
    [
      'one is altered',
      (records) => records.map((record) => (record.seq === 3 ? { ...record, action: 'nothing.happened' } : record)),
    ],
    [
      'one is altered and hashed anew',
      (records) =>
        records.map((record) => (record.seq === 2 ? forged(record, { action: 'nothing.happened' }) : record)),
    ],
    ['one is left out', (records) => records.filter(({ seq }) => seq !== 3)],
    ['the first is left out', (records) => records.slice(1)],
    ['two are swapped', ([a, b, ...rest]) => [b, a, ...rest].filter((record) => record !== undefined)],
    ['one is repeated', ([a, ...rest]) => [a, a, ...rest].filter((record) => record !== undefined)],
    [
      'the last belongs to another realm',
      (records) =>
        records.map((record) => (record.seq === 5 ? forged(record, { realm: Realm.parse('prod') }) : record)),
    ],
  ];
  it.each(changes)('given a chain, when %s, then it is broken', async (_, change) => {
    await expectRefusal('audit.broken', () => verifyChain(change(chainOf(5))));
  });
});
