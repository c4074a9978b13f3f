/** The HSM goes away while the gateway runs: what needs no signature goes on, and all is well again without a restart. */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCasino, type Casino } from '#test/support/casino.ts';
import { freshCsr, requestCertificate } from '#test/support/est-request.ts';

let casino: Casino;

beforeAll(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 } });
  await casino.device('egm-1').on();
  await casino.device('service-1').on();
  await casino.untilConverged();
});

afterAll(() => casino.close());

const tokens = (): string => path.join(casino.data.hsm, 'tokens');
const unplug = (): Promise<void> => rename(tokens(), `${tokens()}.away`);
const plugIn = (): Promise<void> => rename(`${tokens()}.away`, tokens());

describe('given a running gateway whose HSM is unplugged', () => {
  test('then enrolment is put off, reports are recorded, a rotation waits, and everything recovers by itself', async () => {
    const newcomer = casino.device('egm-2');
    const { ticket } = newcomer;
    if (ticket === undefined) throw new Error('egm-2 has no ticket');
    const csr = await freshCsr('egm-2');
    await casino.publishTrust();
    await casino.untilConverged();
    const rotation = await casino.prepareRotation();
    await unplug();

    const putOff = await requestCertificate(ticket, csr);
    expect(putOff).toMatchObject({ status: 503 });
    expect(Number(putOff.retryAfter)).toBeGreaterThan(0);
    expect(putOff.body).toContain('HSM');
    expect(
      (await casino.certificatesOf('egm-2')).map(({ state }) => state),
      'the intent is on record',
    ).toEqual(['intended']);

    const { counter } = (await casino.detail('egm-1')).sync;
    await casino.device('egm-1').run.agent.report();
    await casino.until(
      async () => (await casino.detail('egm-1')).sync.counter > counter,
      () => 'a report recorded without the HSM',
    );

    await rotation.commit();
    await casino.until(
      async () => casino.log.some(({ message }) => message.startsWith('update not sealed')),
      () => casino.log.slice(-5),
    );
    expect(casino.device('egm-1').holds()).toEqual(['1 active']);

    await plugIn();
    await casino.untilRollout(rotation.id, 'active');
    await casino.untilConverged();
    expect(casino.device('egm-1').holds()).toEqual(['1 stored', '2 active']);

    const issued = await casino.until(
      async () => {
        const answer = await requestCertificate(ticket, csr);
        return answer.status === 200 && answer;
      },
      () => 'a certificate once the HSM is back',
    );
    expect(issued.body.length).toBeGreaterThan(500);
    const records = await casino.certificatesOf('egm-2');
    expect(
      records.map(({ state }) => state),
      'the same intent, signed',
    ).toEqual(['issued']);
    await casino.auditRecords();
  });
});
