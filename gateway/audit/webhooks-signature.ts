/**
 * The secrets of a webhook and the signature over what it sends: HMAC-SHA256 as in the Standard Webhooks specification
 * (https://www.standardwebhooks.com). Several secrets are signed with side by side, so that one can be replaced.
 */
import { Buffer } from 'node:buffer';
import { createHmac } from 'node:crypto';
import { CroupierError } from '#schema/errors.ts';

const PREFIX = 'whsec_';
const FEWEST_BYTES = 24;
const MOST_BYTES = 64;
const MOST_SECRETS = 4;

/** Secrets are only ever bytes, so that none ends up in a message or a log by itself. */
export type WebhookSecret = Uint8Array;

function secretOf(line: string, what: string): WebhookSecret {
  const text = line.startsWith(PREFIX) ? line.slice(PREFIX.length) : line;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text)
    throw new CroupierError('config.invalid', `${what} holds a line not in base64`);
  if (bytes.length < FEWEST_BYTES || bytes.length > MOST_BYTES) {
    throw new CroupierError(
      'config.invalid',
      `${what} holds a secret of ${bytes.length} bytes; it must have ${FEWEST_BYTES} to ${MOST_BYTES}`,
    );
  }
  return bytes;
}

/**
 * Secrets as a file holds them: one a line, base64, with or without `whsec_` before it. Errors: `config.invalid`, which
 * names `what` and quotes nothing.
 */
export function parseWebhookSecrets(text: string, what: string): readonly WebhookSecret[] {
  const lines = text.split('\n').map((line) => line.trim());
  const secrets = lines.filter((line) => line !== '').map((line) => secretOf(line, what));
  if (secrets.length === 0 || secrets.length > MOST_SECRETS)
    throw new CroupierError('config.invalid', `${what} must hold one to ${MOST_SECRETS} secrets, one a line`);
  return secrets;
}

/** The headers of one attempt. `body` must go out byte by byte as it is given here. */
export function webhookHeaders(
  secrets: readonly WebhookSecret[],
  id: string,
  at: Date,
  body: string,
): Readonly<Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>> {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  const signatures = secrets.map(
    (secret) => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}
