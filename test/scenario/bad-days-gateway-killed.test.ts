/** kill -9 of the gateway at the moments that matter: nothing needs repair, nobody loses a certificate (I1, I4, I7, I8). */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startCasino, type Casino } from '#test/support/casino.ts';
import { freshCsr, requestCertificate } from '#test/support/est-request.ts';

let casino: Casino;

beforeEach(async () => {
  casino = await startCasino({ floor: { egm: 2, service: 1 }, child: true });
});

afterEach(() => casino.close());

const states = async (id: string): Promise<string[]> => (await casino.certificatesOf(id)).map(({ state }) => state);

/** Kills the gateway when the first bytes that come after a certificate was issued are on their way to the device. */
function killBeforeTheAnswer(id: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { est } = casino.wires;
  est.beforeAnswer = async () => {
    if (!(await states(id)).includes('issued')) return true;
    est.beforeAnswer = undefined;
    await casino.stopGateway('kill').then(resolve, reject);
    return false;
  };
  return promise;
}

/** Every certificate that the Device CA signed has a record, the chain of records holds, and no key of a device serves two. */
async function recordsHold(): Promise<void> {
  const intended = new Set<string>();
  for (const { action, details } of await casino.auditRecords()) {
    const serial = details?.['serial'];
    if (action.startsWith('enrolment.') && typeof serial === 'string') intended.add(serial);
  }
  for (const id of casino.devices.keys()) {
    const certificates = await casino.certificatesOf(id);
    for (const { serial, state } of certificates) {
      expect(intended, `${id}: certificate ${serial} (${state}) was recorded before it was signed`).toContain(serial);
    }
  }
}

describe('given a device that enrols', () => {
  test('when the gateway dies between signing and answering, then the same CSR gets the same certificate from the next one', async () => {
    const device = casino.device('egm-1');
    const killed = killBeforeTheAnswer('egm-1');
    const run = await device.on();
    await killed;
    expect(run.all('enrolled')).toEqual([]);
    const [signed, ...more] = await casino.certificatesOf('egm-1');
    expect(more).toEqual([]);

    await casino.startGateway();
    const { serial } = await run.event('enrolled');
    expect(serial).toBe(signed?.serial);
    expect(await states('egm-1')).toEqual(['issued']);
    await casino.untilConverged('egm-1');
    await recordsHold();
  });

  test('when the gateway dies between the record and the signature, then the next one signs what was recorded', async () => {
    const { ticket } = casino.device('egm-1');
    if (ticket === undefined) throw new Error('egm-1 has no ticket');
    const tokens = path.join(casino.data.hsm, 'tokens');
    await rename(tokens, `${tokens}.away`);
    const csr = await freshCsr('egm-1');
    expect(await requestCertificate(ticket, csr)).toMatchObject({ status: 503 });
    await casino.stopGateway('kill');
    await rename(`${tokens}.away`, tokens);
    const [intended] = await casino.certificatesOf('egm-1');
    expect(intended).toMatchObject({ state: 'intended', der: undefined });

    await casino.startGateway();
    expect(await requestCertificate(ticket, csr)).toMatchObject({ status: 200 });
    const [issued, ...more] = await casino.certificatesOf('egm-1');
    expect(more).toEqual([]);
    expect(issued).toMatchObject({ state: 'issued', serial: intended?.serial });
    const other = await requestCertificate(ticket, await freshCsr('egm-1'));
    expect(other.status, 'the ticket is used up for any other request').toBe(401);
    await recordsHold();
  });
});

describe('given a rotation that is under way', () => {
  test(
    'when the gateway dies while it is distributed and while it is destroyed, then the rotation comes to its end all the same',
    { timeout: 90_000 },
    async () => {
      await casino.allOn();
      await casino.untilConverged();
      const rollout = await casino.rotate();
      await casino.restartGateway('kill');
      await casino.untilRollout(rollout, 'active');
      await casino.untilConverged();
      await casino.retire(rollout);
      await casino.untilRollout(rollout, 'retired');
      await casino.destroy(rollout);
      await casino.restartGateway('kill');
      await casino.untilRollout(rollout, 'destroyed');
      await casino.untilConverged();
      for (const device of casino.devices.values()) expect(device.holds(), device.id).toEqual(['2 active']);
      await recordsHold();
    },
  );
});
