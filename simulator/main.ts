/** Entry point of `croupier-sim`: the process around the command line. */
import { outputTo, stopSignal } from './output/terminal.ts';
import { runCommandLine } from './cli.ts';

process.exitCode = await runCommandLine(process.argv.slice(2), {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  outputFor: (json) => outputTo(json ? process.stderr : process.stdout),
  stopSignal,
});
