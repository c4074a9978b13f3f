/** Entry point of `croupier`: the process around the command line. */
import { createInterface } from 'node:readline/promises';
import { styleText } from 'node:util';
import { runCommandLine } from './command-line.ts';

/** An orderly end takes a moment; a second signal, or this long, ends it at once. */
const STOP_WITHIN_MS = 15_000;

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort();
      setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref();
    });
  }
  return stop.signal;
}

async function ask(question: string): Promise<string | undefined> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new AbortController();
  lines.once('close', () => ended.abort());
  try {
    return await lines.question(question, { signal: ended.signal });
  } catch {
    return undefined;
  } finally {
    lines.close();
  }
}

// Whoever reads the output may stop reading (`| head`); that is no fault of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if ('code' in error && error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

process.exitCode = await runCommandLine(process.argv.slice(2), {
  terminal: {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    // Node knows NO_COLOR, FORCE_COLOR and what the terminal can do.
    colour: styleText('bold', 'x', { stream: process.stdout }) !== 'x',
    live: process.stderr.isTTY,
    columns: process.stderr.columns ?? 80,
    canAsk: process.stdin.isTTY && process.stderr.isTTY,
    ask,
    stopSignal,
  },
});
