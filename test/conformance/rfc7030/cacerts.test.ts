/** RFC 7030, 4.1; RFC 8951, 3; and what libest, strongSwan and Bouncy Castle need beyond. */
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeCertsOnly } from '#pki/cms/certs-only.ts';
import { startEstGateway, type EstGateway, type EstResponse } from '#test/support/est-gateway.ts';

const path = '/.well-known/est/cacerts';

describe('GET cacerts', () => {
  let gateway: EstGateway;
  beforeAll(async () => void (gateway = await startEstGateway()));
  afterAll(() => gateway.stop());

  const certificates = ({ body }: EstResponse): X509Certificate[] =>
    decodeCertsOnly(Buffer.from(body, 'base64')).map((der) => new X509Certificate(der));

  test('given nobody, when asked, then the root and both intermediates come, and the root signs itself (4.1.3)', async () => {
    const found = certificates(await gateway.ask({ path }));
    expect(found).toHaveLength(3);
    const roots = found.filter((certificate) => certificate.checkIssued(certificate));
    expect(roots.map(({ raw }) => raw)).toEqual([Buffer.from(gateway.pki.root.certificate)]);
    expect(roots[0]?.verify(roots[0].publicKey)).toBe(true);
  });

  test('given any client, when answered, then type, length and encoding come first, in canonical case, never chunked', async () => {
    const { status, rawHeaders, body } = await gateway.ask({ path });
    expect(status).toBe(200);
    expect(rawHeaders.slice(0, 6)).toEqual([
      'Content-Type',
      'application/pkcs7-mime',
      'Content-Length',
      String(body.length),
      'Content-Transfer-Encoding',
      'base64',
    ]);
    expect(rawHeaders).not.toContain('Transfer-Encoding');
    expect(rawHeaders.length / 2).toBeLessThan(16);
    expect(rawHeaders.join(': ').length).toBeLessThan(1024);
  });

  test('given strongSwan or no name, when answered, then the base64 is one line', async () => {
    expect((await gateway.ask({ path })).body).not.toMatch(/\s/);
  });

  test.each(['libest client 1.0', 'libest 3.2.0p', 'Cisco EST client 2.0 with BRSKI'])(
    'given %s, when answered, then the base64 is wrapped at 64 and holds the same certificates',
    async (agent) => {
      const wrapped = await gateway.ask({ path, headers: { 'User-Agent': agent } });
      expect(wrapped.body.split('\r\n').every((line) => line.length <= 64)).toBe(true);
      expect(wrapped.body.split('\r\n').length).toBeGreaterThan(10);
      expect(certificates(wrapped)).toHaveLength(3);
    },
  );

  test('given a label, when it is a class of the policy, then the same certificates come', async () => {
    const plain = await gateway.ask({ path });
    const labelled = await gateway.ask({ path: '/.well-known/est/egm/cacerts' });
    expect(labelled.body).toBe(plain.body);
  });

  test('given a label, when it is no class, then 404 says so', async () => {
    const { status, headers, body } = await gateway.ask({ path: '/.well-known/est/roulette/cacerts' });
    expect(status).toBe(404);
    expect(headers['croupier-error']).toBe('enrolment.label-unknown');
    expect(headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(body).toContain('labels are the device classes');
  });

  test('given POST, when sent, then 405 names GET', async () => {
    const { status, headers } = await gateway.ask({ path, method: 'POST', body: '' });
    expect([status, headers['allow']]).toEqual([405, 'GET']);
  });
});
