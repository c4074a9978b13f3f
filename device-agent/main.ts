/** Entry point of `croupier-agent`: the process around the command line. */
import { runCommandLine } from './cli.ts';

/** An orderly end takes a moment (a last report); a second signal, or this long, ends it at once. */
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

process.exitCode = await runCommandLine(process.argv.slice(2), {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stopSignal,
});
