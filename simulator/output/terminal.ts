/** What the simulator sees of the process around it. */
import { styleText } from 'node:util';

export type Style = Parameters<typeof styleText>[0];

export interface Output {
  write(text: string): void;
  /** Whether somebody watches: a bar that is redrawn, else plain lines. */
  readonly live: boolean;
  readonly columns: number;
  readonly paint: (style: Style, text: string) => string;
}

const DEFAULT_COLUMNS = 80;

export function outputTo(stream: NodeJS.WriteStream): Output {
  return {
    write: (text) => void stream.write(text),
    live: stream.isTTY,
    // A terminal that does not know its width says 0.
    columns: stream.columns > 0 ? stream.columns : DEFAULT_COLUMNS,
    paint: (style, text) => styleText(style, text, { stream }),
  };
}

const HURRY_AFTER_MS = 1_000;

/**
 * Aborts at the first signal that asks the process to end. A terminal's interrupt may arrive several times (from the
 * terminal and from whatever passes signals on); one that comes clearly later means that somebody cannot wait.
 */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let first: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      first ??= performance.now();
      if (performance.now() - first > HURRY_AFTER_MS) process.exit(130);
      stop.abort();
    });
  }
  return stop.signal;
}
