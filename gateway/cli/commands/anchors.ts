/** Options that change the anchors of the operator's own purposes in the next trust bundle. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { decodePemAll } from '#pki/certificate/pem.ts';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { TrustPurpose } from '#schema/messages/trust-bundle.ts';
import { collect } from './registration.ts';

export interface AnchorOptions {
  readonly anchor?: readonly string[];
  readonly remove?: readonly string[];
}

export function withAnchors(command: Command): Command {
  return command
    .option(
      '--anchor <purpose=file>',
      'PEM certificates for a purpose of your own; may be given several times',
      collect,
    )
    .option('--remove <purpose>', 'drop a purpose of your own; may be given several times', collect);
}

/** Certificates (DER, base64) by purpose. Errors: `input.invalid`, `config.missing`, `certificate.malformed`. */
export async function readAnchors(options: AnchorOptions): Promise<Record<string, string[]>> {
  const anchors: Record<string, string[]> = {};
  for (const purpose of options.remove ?? []) anchors[purposeOf(purpose)] = [];
  for (const given of options.anchor ?? []) {
    const [purpose = '', ...rest] = given.split('=');
    const file = rest.join('=');
    if (file === '') throw new CroupierError('input.invalid', `--anchor ${given}: write PURPOSE=FILE`);
    const text = await readFile(file, 'utf8').catch((error: unknown) => {
      throw new CroupierError('config.missing', `${file} cannot be read: ${errorMessage(error)}`, { cause: error });
    });
    const certificates = decodePemAll('CERTIFICATE', text);
    if (certificates.length === 0) throw new CroupierError('certificate.malformed', `${file} holds no PEM certificate`);
    const added = certificates.map((der) => Buffer.from(der).toString('base64'));
    anchors[purposeOf(purpose)] = [...(anchors[purpose] ?? []), ...added];
  }
  return anchors;
}

function purposeOf(text: string): string {
  const result = TrustPurpose.safeParse(text);
  if (!result.success)
    throw new CroupierError(
      'input.invalid',
      `${JSON.stringify(text)} is not a purpose: use lower-case letters, digits and hyphens`,
    );
  return result.data;
}
