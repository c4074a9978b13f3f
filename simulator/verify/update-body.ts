/** What an update says, for somebody who looks on: nothing is verified, and no envelope is opened. */
import { parseSignedData } from '#pki/cms/verify.ts';
import { MAX_MESSAGE_BYTES } from '#schema/messages/common.ts';
import { Update } from '#schema/messages/update.ts';
import { parseJson } from '#schema/parse.ts';

/** The body of an update, CMS DER. Errors: `message.malformed`, `input.too-large`. */
export function readUpdate(der: Uint8Array): Update {
  const { content } = parseSignedData(der, { maxBytes: MAX_MESSAGE_BYTES });
  return parseJson(Update, new TextDecoder().decode(content), 'message.malformed', 'update');
}
