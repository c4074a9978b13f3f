/** Bytes of a file to lines, with a limit, so that a file without line breaks cannot fill the memory. */
import { Buffer } from 'node:buffer';
import { CroupierError } from '#schema/errors.ts';

/** A policy with a hundred changes is the largest record there is, at some ten kilobytes. */
export const MAX_LINE_BYTES = 1024 * 1024;

const LINE_FEED = 0x0a;

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new CroupierError('audit.broken', 'the file is not UTF-8 text', { cause: error });
  }
}

/**
 * Lines without their line feeds; a last line needs none. Errors: `input.too-large` for a line over the limit,
 * `audit.broken` for bytes that are not UTF-8.
 */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  limit: number = MAX_LINE_BYTES,
): AsyncGenerator<string, void, undefined> {
  let rest: Uint8Array[] = [];
  let held = 0;
  const hold = (part: Uint8Array): void => {
    held += part.length;
    if (held > limit) throw new CroupierError('input.too-large', `a line is longer than ${limit} bytes`);
    rest.push(part);
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      hold(chunk.subarray(start, end));
      yield decode(Buffer.concat(rest));
      rest = [];
      held = 0;
      start = end + 1;
    }
    if (start < chunk.length) hold(chunk.subarray(start));
  }
  if (held > 0) yield decode(Buffer.concat(rest));
}
