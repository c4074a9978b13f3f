import { describe, expect, test } from 'vitest';
import { eventData } from '#gateway/cli/client/events.ts';
import { createProgress, progressBar } from '#gateway/cli/output/progress.ts';
import { facts, table } from '#gateway/cli/output/table.ts';
import type { Terminal } from '#gateway/cli/output/terminal.ts';
import { paintWith, printable, widthOf } from '#gateway/cli/output/text.ts';
import { ManualClock } from '#schema/runtime/clock.ts';

const plain = paintWith(false);

function terminal(live: boolean): Terminal & { readonly written: () => string } {
  let written = '';
  return {
    stdout: () => undefined,
    stderr: (text) => {
      written += text;
    },
    colour: false,
    live,
    columns: 60,
    canAsk: false,
    ask: async () => undefined,
    stopSignal: () => new AbortController().signal,
    written: () => written,
  };
}

describe('tables', () => {
  test('given cells of different width, then columns line up and numbers stand right', () => {
    const text = table(
      ['NAME', { title: 'N', align: 'right' }, 'NOTE'],
      [
        ['a', 7, undefined],
        ['long-name', 1234, 'x'],
      ],
      plain,
    );
    expect(text).toBe(['NAME          N  NOTE', 'a             7  -', 'long-name  1234  x', ''].join('\n'));
  });

  test('given wide and combining characters, then columns still line up', () => {
    expect([widthOf('日本'), widthOf('e\u0301'), widthOf('abc')]).toEqual([4, 1, 3]);
    const [, first, second] = table(
      ['A', 'B'],
      [
        ['日本', 'x'],
        ['abcd', 'y'],
      ],
      plain,
    ).split('\n');
    expect([first, second]).toEqual(['日本  x', 'abcd  y']);
  });

  test('given a label that would steer the terminal, then it is shown, not obeyed', () => {
    expect(printable('a\u001b[2Jb\nc\u202ed')).toBe('a\ufffd[2Jb\ufffdc\ufffdd');
    expect(table(['A'], [['\u001b]0;x\u0007']], plain)).toBe('A\n\ufffd]0;x\ufffd\n');
  });

  test('given colour, then it surrounds the text and changes no width', () => {
    const paint = paintWith(true);
    const text = table(['STATE', 'X'], [[{ text: 'ok', style: 'green' }, 'y']], paint);
    expect(text).toContain('\u001b[32mok\u001b[39m     y');
    expect(facts([['a', { text: 'b', style: 'red' }]], plain)).toBe('a  b\n');
  });
});

describe('progress', () => {
  test('given part of the work, then the bar is full only at the end', () => {
    expect(progressBar(0, 4, 4)).toBe('[----]   0% 0/4');
    expect(progressBar(999, 1000, 4)).toBe('[###-]  99% 999/1000');
    expect(progressBar(4, 4, 4)).toBe('[####] 100% 4/4');
    expect(progressBar(0, 0, 4)).toBe('[####] 100% 0/0');
  });

  test('given a terminal, then one line is redrawn and never wraps', () => {
    const screen = terminal(true);
    const progress = createProgress(screen, new ManualClock(new Date(0)));
    progress.update({ label: 'stored', done: 1, total: 2, note: 'n'.repeat(100) });
    progress.update({ label: 'stored', done: 2, total: 2 });
    progress.end();
    const frames = screen.written().split('\r');
    expect(frames).toHaveLength(3);
    expect(screen.written().endsWith('2/2\n')).toBe(true);
    for (const frame of frames) expect(frame.replace('\u001b[K', '').trimEnd().length).toBeLessThanOrEqual(60);
  });

  test('given no terminal, then there are plain lines, few of them, and the last state is among them', () => {
    const screen = terminal(false);
    const clock = new ManualClock(new Date(0));
    const progress = createProgress(screen, clock);
    for (let done = 0; done < 100; done += 1) {
      progress.update({ label: 'stored', done, total: 200 });
      clock.advance(100);
    }
    progress.end();
    for (const control of ['\r', '\u001b']) expect(screen.written()).not.toContain(control);
    const lines = screen.written().trimEnd().split('\n');
    expect(lines[0]).toBe('stored: 0/200');
    expect(lines.at(-1)).toBe('stored: 99/200');
    expect(lines.length).toBeLessThan(10);
  });
});

describe('server-sent events', () => {
  const read = async (...parts: readonly string[]): Promise<string[]> => {
    const stream = async function* (): AsyncGenerator<Uint8Array> {
      for (const part of parts) yield Buffer.from(part, 'utf8');
    };
    const data: string[] = [];
    for await (const item of eventData(stream())) data.push(item);
    return data;
  };

  test('given events in pieces, with comments, ids and any line break, then the data of each whole event is read', async () => {
    expect(await read(': hi\n\nid: 1\nda', 'ta: {"a":1}\n\ndata: x\r\ndata:y\r\n\r\n', 'data: cut off')).toEqual([
      '{"a":1}',
      'x\ny',
    ]);
    const bytes = Buffer.from('data: é\n\n', 'utf8');
    const stream = async function* (): AsyncGenerator<Uint8Array> {
      for (const byte of bytes) yield Uint8Array.of(byte);
    };
    for await (const data of eventData(stream())) expect(data).toBe('é');
  });
});
