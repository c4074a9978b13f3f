/** Server-Sent Events (WHATWG HTML 9.2), as far as the operator API uses them: the data of each event. */
import { CroupierError } from '#schema/errors.ts';

const MAX_EVENT = 4 * 1024 * 1024;

/** The data of each complete event of a byte stream. Comments and other fields are passed over. */
export async function* eventData(stream: AsyncIterable<unknown>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8');
  let rest = '';
  let data: string[] = [];
  for await (const part of stream) {
    rest += part instanceof Uint8Array ? decoder.decode(part, { stream: true }) : '';
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    if (rest.length > MAX_EVENT) throw new CroupierError('input.too-large', 'an event of the gateway is too large');
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield data.join('\n');
        data = [];
      } else if (line.startsWith('data:')) data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
    }
  }
}
