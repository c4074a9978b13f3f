/** RFC 7030, 4.2.2. */
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  certificateOf,
  enrolledDevice,
  enrolRequest,
  newDevice,
  startEstGateway,
  type EstGateway,
} from '#test/support/est-gateway.ts';

describe('POST simplereenroll', () => {
  let gateway: EstGateway;
  beforeAll(async () => void (gateway = await startEstGateway()));
  afterAll(() => gateway.stop());

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'given the current certificate over %s, when a new key is sent, then it is certified under the same name',
    async (tlsVersion) => {
      const device = await enrolledDevice(gateway, `egm-${tlsVersion}`);
      const next = await newDevice(device.id);
      const answer = await gateway.ask({ ...enrolRequest(next, { identity: device }), tlsVersion });
      const renewed = new X509Certificate(certificateOf(answer));
      const former = new X509Certificate(device.certificate);
      expect([renewed.subject, renewed.subjectAltName]).toEqual([former.subject, former.subjectAltName]);
      expect(renewed.checkPrivateKey(next.key.privateKey)).toBe(true);
      expect(renewed.serialNumber).not.toBe(former.serialNumber);
    },
  );

  test('given the current certificate, when the same key is sent again in a new request, then it is certified anew', async () => {
    const device = await enrolledDevice(gateway, 'egm-same-key');
    const again = await gateway.ask(enrolRequest(device, { identity: device }));
    expect(new X509Certificate(certificateOf(again)).serialNumber).not.toBe(
      new X509Certificate(device.certificate).serialNumber,
    );
  });

  test('given the current certificate, when the request names another device, then it is refused', async () => {
    const device = await enrolledDevice(gateway, 'egm-self');
    const answer = await gateway.ask(enrolRequest(await newDevice('egm-other'), { identity: device }));
    expect([answer.status, answer.headers['croupier-error']]).toEqual([400, 'csr.subject-mismatch']);
  });

  test('given no certificate, when a ticket is sent, then 401: a ticket enrols, it does not renew', async () => {
    await gateway.register('egm-ticket');
    const device = await newDevice('egm-ticket');
    const code = await gateway.ticket(device.id);
    const answer = await gateway.ask(enrolRequest(device, { code, operation: 'simplereenroll' }));
    expect([answer.status, answer.headers['croupier-error']]).toEqual([401, 'enrolment.unauthenticated']);
    certificateOf(await gateway.ask(enrolRequest(device, { code })));
  });
});
