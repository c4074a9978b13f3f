/**
 * A gateway in a process of its own, for tests that kill it: `node test/support/gateway-process.ts DIRECTORY`. Says on
 * standard output, as one JSON line, that it is ready or why it is not; SIGTERM ends it in order.
 */
import { startGateway } from '#gateway/main.ts';
import { errorCode, errorMessage } from '#schema/errors.ts';

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const gateway = await startGateway({ directory: process.argv[2] ?? '' });
  process.once('SIGTERM', () => {
    void gateway.close().then(() => process.exit(0));
  });
  // The gateway's listeners keep the process; the parent's end must end it, too.
  process.stdin.on('end', () => process.exit(0)).resume();
  say({ ready: gateway.run });
} catch (error) {
  say({ failed: { code: errorCode(error), message: errorMessage(error) } });
  process.exitCode = 1;
}
