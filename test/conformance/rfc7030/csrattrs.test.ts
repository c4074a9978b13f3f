/** RFC 7030, 4.5; RFC 9908, 3. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeCsrAttrs } from '#pki/est/csrattrs.ts';
import { startEstGateway, type EstGateway } from '#test/support/est-gateway.ts';

describe('GET csrattrs', () => {
  let gateway: EstGateway;
  beforeAll(async () => {
    gateway = await startEstGateway({
      policy: {
        classes: {
          egm: { keyTypes: ['EC-P256', 'EC-P384', 'RSA-2048'], validity: '90d' },
          kiosk: { keyTypes: ['EC-P384', 'EC-P256', 'Ed25519'], validity: '90d' },
        },
      },
    });
  });
  afterAll(() => gateway.stop());

  const keys = async (label: string): Promise<readonly string[]> => {
    const { status, headers, body } = await gateway.ask({ path: `/.well-known/est/${label}csrattrs` });
    expect([status, headers['content-type']]).toEqual([200, 'application/csrattrs']);
    expect(headers['content-transfer-encoding']).toBe('base64');
    return decodeCsrAttrs(Buffer.from(body, 'base64')).keys;
  };

  test('given a class as label, when asked, then its key types come in the order of the policy', async () => {
    expect(await keys('egm/')).toEqual(['EC-P256', 'EC-P384', 'RSA-2048']);
    expect(await keys('kiosk/')).toEqual(['EC-P384', 'EC-P256']);
  });

  test('given no label, when asked, then only what every class allows comes', async () => {
    expect(await keys('')).toEqual(['EC-P256', 'EC-P384']);
  });
});

describe('GET csrattrs with nothing to ask for', () => {
  test('given a class with Ed25519 alone, when asked, then 204 without body (4.5.2)', async () => {
    const gateway = await startEstGateway({ policy: { classes: { pos: { keyTypes: ['Ed25519'], validity: '90d' } } } });
    const { status, body, rawHeaders } = await gateway.ask({ path: '/.well-known/est/pos/csrattrs' });
    expect([status, body]).toEqual([204, '']);
    expect(rawHeaders).not.toContain('Content-Length');
    await gateway.stop();
  });
});
