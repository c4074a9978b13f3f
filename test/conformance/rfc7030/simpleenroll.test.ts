/** RFC 7030, 4.2.1 and 4.2.3; RFC 8951, 3.1; RFC 9266. */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem } from '#pki/certificate/pem.ts';
import { createCsr } from '#pki/csr/create.ts';
import { encodeBase64 } from '#pki/est/base64.ts';
import {
  certificateOf,
  enrolledDevice,
  enrolRequest,
  newDevice,
  startEstGateway,
  type EstGateway,
  type TestDevice,
} from '#test/support/est-gateway.ts';

describe('POST simpleenroll', () => {
  let gateway: EstGateway;
  let count = 0;
  beforeAll(async () => void (gateway = await startEstGateway()));
  afterAll(() => gateway.stop());

  const withTicket = async (): Promise<TestDevice & { code: string }> => {
    const id = `egm-${(count += 1)}`;
    await gateway.register(id);
    return { ...(await newDevice(id)), code: await gateway.ticket(id) };
  };

  test('given a ticket, when a CSR is sent, then exactly one certificate for its key comes, unwrapped (4.2.3)', async () => {
    const device = await withTicket();
    const answer = await gateway.ask(enrolRequest(device, { code: device.code }));
    const certificate = new X509Certificate(certificateOf(answer));
    expect(certificate.checkPrivateKey(device.key.privateKey)).toBe(true);
    expect(certificate.subject).toContain(`CN=${device.id}`);
    expect(answer.body).not.toMatch(/\s/);
    expect(answer.rawHeaders.slice(0, 6)).toEqual([
      'Content-Type',
      'application/pkcs7-mime; smime-type=certs-only',
      'Content-Length',
      String(answer.body.length),
      'Content-Transfer-Encoding',
      'base64',
    ]);
  });

  test('given libest, when it enrols, then the answer is unwrapped all the same', async () => {
    const device = await withTicket();
    const answer = await gateway.ask(
      enrolRequest(device, { code: device.code, headers: { 'User-Agent': 'libest 3.2.0p' } }),
    );
    expect(answer.body).not.toMatch(/\s/);
  });

  test.each([
    ['lines that end in CR LF', (csr: Uint8Array) => encodeBase64(csr, 'lines')],
    ['blanks and tabs within', (csr: Uint8Array) => encodeBase64(csr).replace(/(.{10})/g, '$1 \t\n')],
    ['PEM armour', (csr: Uint8Array) => encodePem('CERTIFICATE REQUEST', csr)],
    [
      'PEM armour of an older name',
      (csr: Uint8Array) => encodePem('CERTIFICATE REQUEST', csr).replaceAll('CERTIFICATE', 'NEW CERTIFICATE'),
    ],
  ])('given a CSR with %s, when sent, then it is read (RFC 8951, 3.1)', async (_, encode) => {
    const device = await withTicket();
    certificateOf(await gateway.ask(enrolRequest(device, { code: device.code, body: encode(device.csr) })));
  });

  test.each([
    ['bare DER', (csr: Uint8Array) => csr, 'base64.malformed', 'bare DER; send it in base64'],
    ['an empty body', () => '', 'base64.malformed', 'empty'],
    ['characters that are not base64', () => 'not base64!', 'base64.malformed', 'not base64'],
    ['base64 of no DER', () => Buffer.from('hello').toString('base64'), 'csr.malformed', 'cannot be parsed'],
    ['base64 cut short', (csr: Uint8Array) => encodeBase64(csr.subarray(0, 150)), 'csr.malformed', 'cannot be parsed'],
    [
      'a certificate in PEM',
      (csr: Uint8Array) => encodePem('CERTIFICATE', csr),
      'base64.malformed',
      'not CERTIFICATE REQUEST',
    ],
  ])(
    'given %s, when sent, then 400 says what is wrong and what to do, and the ticket is still good',
    async (_, body, code, text) => {
      const device = await withTicket();
      const request = enrolRequest(device, { code: device.code });
      const answer = await gateway.ask({ ...request, body: body(device.csr) });
      expect([answer.status, answer.headers['croupier-error']]).toEqual([400, code]);
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
      expect(answer.body).toContain(text);
      expect(answer.body.split('\n')).toHaveLength(3);
      certificateOf(await gateway.ask(request));
    },
  );

  test('given the content type with parameters and in capitals, when sent, then it is accepted; another type is 415', async () => {
    const device = await withTicket();
    const send = (type: string) =>
      gateway.ask(enrolRequest(device, { code: device.code, headers: { 'Content-Type': type } }));
    expect((await send('application/x-pem-file')).status).toBe(415);
    certificateOf(await send('Application/PKCS10; charset=us-ascii'));
  });

  test('given no credential but an open ticket, when asked, then 401 has a Basic challenge and no body (3.2.3)', async () => {
    const device = await withTicket();
    const { status, body, rawHeaders } = await gateway.ask(enrolRequest(device));
    expect([status, body]).toEqual([401, '']);
    expect(rawHeaders.slice(0, 4)).toEqual(['Content-Length', '0', 'WWW-Authenticate', 'Basic realm="test"']);
    certificateOf(await gateway.ask(enrolRequest(device, { code: device.code })));
  });

  test('given a Bearer token, when sent, then the challenge asks for Basic', async () => {
    const device = await withTicket();
    const { status, headers } = await gateway.ask(enrolRequest(device, { headers: { Authorization: 'Bearer abc' } }));
    expect([status, headers['www-authenticate']]).toEqual([401, 'Basic realm="test"']);
  });

  test('given a stranger, when it asks, then 202 has whole seconds and no body (4.2.3)', async () => {
    const { status, body, rawHeaders } = await gateway.ask(enrolRequest(await newDevice('egm-stranger')));
    expect([status, body]).toEqual([202, '']);
    expect(rawHeaders.slice(0, 4)).toEqual(['Content-Length', '0', 'Retry-After', '2']);
  });

  test('given the label of the class of the device, when used, then it enrols; the label of another class is 404', async () => {
    const device = await withTicket();
    const other = await gateway.ask(enrolRequest(device, { code: device.code, label: 'kiosk' }));
    expect([other.status, other.headers['croupier-error']]).toEqual([404, 'enrolment.label-unknown']);
    certificateOf(await gateway.ask(enrolRequest(device, { code: device.code, label: 'egm' })));
  });

  test('given GET, when sent, then 405 names POST', async () => {
    const { status, headers } = await gateway.ask({ path: '/.well-known/est/simpleenroll' });
    expect([status, headers['allow']]).toEqual([405, 'POST']);
  });

  describe('channel binding (3.5)', () => {
    const bound = async (device: TestDevice, binding: string): Promise<string> =>
      encodeBase64(
        await createCsr({ subject: { commonName: device.id }, signer: device.key.signer, challengePassword: binding }),
      );
    const tlsUnique = (socket: TLSSocket): string => (socket.getFinished() ?? Buffer.alloc(0)).toString('base64');
    const exporter = (socket: TLSSocket): string =>
      socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)).toString('base64');

    test.each([
      ['TLSv1.2', 'tls-unique', tlsUnique],
      ['TLSv1.3', 'tls-exporter', exporter],
    ] as const)(
      'given %s, when the CSR holds %s of its own connection, then it is accepted, of another refused',
      async (tlsVersion, _, binding) => {
        const device = await withTicket();
        const base = { ...enrolRequest(device, { code: device.code }), tlsVersion };
        let stolen = '';
        await gateway.ask({ ...base, bodyFor: async (socket) => ((stolen = binding(socket)), 'x') });
        const refused = await gateway.ask({ ...base, body: await bound(device, stolen) });
        expect([refused.status, refused.headers['croupier-error']]).toEqual([400, 'csr.channel-binding-mismatch']);
        certificateOf(await gateway.ask({ ...base, bodyFor: (socket) => bound(device, binding(socket)) }));
      },
    );
  });

  test('given a certificate and no ticket, when simpleenroll is asked, then the certificate counts (3.3.2)', async () => {
    const device = await enrolledDevice(gateway, 'egm-enrolled');
    const next = await newDevice(device.id);
    certificateOf(await gateway.ask(enrolRequest(next, { identity: device, operation: 'simpleenroll' })));
  });
});
