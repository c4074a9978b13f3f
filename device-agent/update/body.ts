/** The JSON body of a message: version and type first, so that a newer message is refused by name. */
import type { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { MESSAGE_VERSION, MessageHead } from '#schema/messages/common.ts';
import { parseWith } from '#schema/parse.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Errors: `message.malformed`, `message.version-unsupported`. */
export function readBody<Schema extends z.ZodType>(schema: Schema, content: Uint8Array, type: string): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(content));
  } catch {
    throw new CroupierError('message.malformed', `the body of the ${type} is not JSON in UTF-8`);
  }
  const head = parseWith(MessageHead, value, 'message.malformed', `body of the ${type}`);
  if (head.v !== MESSAGE_VERSION) {
    throw new CroupierError(
      'message.version-unsupported',
      `the message has version ${head.v}, known is ${MESSAGE_VERSION}`,
    );
  }
  if (head.type !== type) throw new CroupierError('message.malformed', `the message is not of type ${type}`);
  return parseWith(schema, value, 'message.malformed', `body of the ${type}`);
}
