/** The files of a webhook: its secret, and the certificates it trusts. */
import { open, readFile } from 'node:fs/promises';
import { parseCertificate } from '#pki/certificate/parse.ts';
import { decodePemAll } from '#pki/certificate/pem.ts';
import type { WebhookConfig } from '#schema/config.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { WebhookSetup } from '#gateway/audit/webhooks.ts';
import { parseWebhookSecrets, type WebhookSecret } from '#gateway/audit/webhooks-signature.ts';
import { createWebhookSender } from './sender.ts';

const MOST_OCTETS = 4_096;

/**
 * The secrets in a file. Errors: `config.missing` for no file, `config.invalid` when others may read it or it holds
 * something else. No message quotes what the file holds.
 */
export async function readWebhookSecrets(file: string): Promise<readonly WebhookSecret[]> {
  const what = `the secret file ${file}`;
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw new CroupierError('config.missing', `${what} cannot be read: ${errorMessage(cause)}`, { cause });
  });
  try {
    const { mode, size } = await handle.stat();
    if ((mode & 0o077) !== 0) {
      throw new CroupierError(
        'config.invalid',
        `${what} can be read by others (mode ${(mode & 0o777).toString(8)}): run chmod 600 ${file}, and replace the secret if somebody may have seen it`,
      );
    }
    if (size > MOST_OCTETS) throw new CroupierError('config.invalid', `${what} is larger than ${MOST_OCTETS} bytes`);
    return parseWebhookSecrets(await handle.readFile('utf8'), what);
  } finally {
    await handle.close();
  }
}

async function readCa(file: string): Promise<string> {
  const what = `the ca file ${file}`;
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CroupierError('config.missing', `${what} cannot be read: ${errorMessage(cause)}`, { cause });
  });
  try {
    const certificates = decodePemAll('CERTIFICATE', text).map(parseCertificate);
    if (certificates.length === 0)
      throw new CroupierError('certificate.malformed', 'there is no PEM block CERTIFICATE');
  } catch (cause) {
    throw new CroupierError('config.invalid', `${what} does not hold certificates: ${errorMessage(cause)}`, { cause });
  }
  return text;
}

/** Errors: `config.missing`, `config.invalid`. */
export async function openWebhook(config: WebhookConfig, clock: Clock): Promise<WebhookSetup> {
  const secrets = await readWebhookSecrets(config.secretFile);
  const ca = config.ca === undefined ? undefined : await readCa(config.ca);
  return { config, secrets, sender: createWebhookSender({ url: config.url, ca, timeoutMs: config.timeout, clock }) };
}
