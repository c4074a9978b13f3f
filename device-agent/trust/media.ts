/** Trust links from a directory, as somebody carries them on a USB stick. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { MAX_LINKS } from './links.ts';

const LINK_FILE = /\.(?:der|p7m)$/i;

async function readLink(path: string): Promise<Uint8Array> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    if (size > MAX_MESSAGE_BYTES) throw new CroupierError('input.too-large', `${path} is too large for a trust link`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/**
 * The bytes of all files `*.der` and `*.p7m` in `directory`, by name, at most 256. Nothing is verified: give them to
 * `Agent.importTrust`. Errors: `input.invalid` if it cannot be read, `input.too-large`.
 */
export async function readTrustLinks(directory: string): Promise<Uint8Array[]> {
  try {
    const names = (await readdir(directory)).filter((name) => LINK_FILE.test(name)).sort();
    const links: Uint8Array[] = [];
    for (const name of names.slice(0, MAX_LINKS)) links.push(await readLink(join(directory, name)));
    return links;
  } catch (error) {
    throw asCroupierError(error, 'input.invalid', `the trust links in ${directory} cannot be read`);
  }
}
