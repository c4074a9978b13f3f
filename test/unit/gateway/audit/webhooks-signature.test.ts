import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { parseWebhookSecrets, webhookHeaders } from '#gateway/audit/webhooks-signature.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const bytes = (count: number): string => Buffer.alloc(count, 7).toString('base64');
const parse = (text: string): readonly Uint8Array[] => parseWebhookSecrets(text, 'the file');

describe('signature', () => {
  test('given the example of the Standard Webhooks reference implementations, then the signature is theirs', () => {
    const headers = webhookHeaders(
      parse(SECRET),
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      new Date(1_614_265_330_999),
      '{"test": 2432232314}',
    );
    expect(headers).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  test('given two secrets, then there is a signature of each, so that receivers can change over', () => {
    const both = webhookHeaders(parse(`${SECRET}\n${bytes(32)}\n`), 'id', new Date(0), '{}')['webhook-signature'];
    const first = webhookHeaders(parse(SECRET), 'id', new Date(0), '{}')['webhook-signature'];
    const second = webhookHeaders(parse(bytes(32)), 'id', new Date(0), '{}')['webhook-signature'];
    expect(both).toBe(`${first} ${second}`);
  });
});

describe('secret file', () => {
  test.each([
    ['base64 of 24 bytes', bytes(24), 1],
    ['base64 of 64 bytes', bytes(64), 1],
    ['the prefix, white space and empty lines', `\n  ${SECRET} \r\n\n`, 1],
    ['four secrets', [24, 25, 26, 27].map(bytes).join('\n'), 4],
  ])('given %s, then it holds', (_, text, count) => {
    expect(parse(text)).toHaveLength(count);
  });

  test.each([
    ['nothing', '\n'],
    ['too short a secret', bytes(23)],
    ['too long a secret', bytes(65)],
    ['base64url', Buffer.alloc(32, 0xff).toString('base64url')],
    ['base64 without its padding', bytes(25).replace(/=+$/, '')],
    ['text', 'correct horse battery staple of the casino'],
    ['five secrets', [24, 25, 26, 27, 28].map(bytes).join('\n')],
  ])('given %s, then it is refused, and not quoted', async (_, text) => {
    const refusal = await expectRefusal('config.invalid', () => parse(text));
    expect(refusal.message).toContain('the file');
    for (const line of text.split('\n').filter((part) => part.trim() !== ''))
      expect(refusal.message).not.toContain(line.trim());
  });
});
