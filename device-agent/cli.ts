/** The command line of the agent. Options become a call; what is thrown becomes a message and an exit code. */
import { writeFile } from 'node:fs/promises';
import { Command, CommanderError, Option } from 'commander';
import { z } from 'zod';
import { KEY_ALGORITHMS } from '#pki/keys/signer.ts';
import { asCroupierError, CroupierError, errorMessage } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import packageJson from '../package.json' with { type: 'json' };
import { createDaemonLog, LOG_LEVELS, type LogLevel } from './local/daemon-log.ts';
import type { DaemonOptions } from './local/daemon.ts';
import { EXIT_OK, EXIT_USAGE, exitCodeOf } from '#schema/exit-code.ts';
import { EXPORT_KEYS } from './local/exporter.ts';
import { askAgent } from './local/socket-client.ts';
import { socketPath } from './local/socket-path.ts';
import { Health, STATUS_ERRORS, statusReport } from './local/status-report.ts';

export interface CommandLine {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** From this call on signals end the daemon in order: they abort what is returned. */
  readonly stopSignal: () => AbortSignal;
}

/** Messages are not signed with Ed25519, so a device cannot use it. */
const KEY_TYPES = KEY_ALGORITHMS.filter((algorithm) => algorithm !== 'Ed25519');

interface RunOptions extends DaemonOptions {
  readonly logLevel: LogLevel;
  readonly json: boolean;
}

interface StatusOptions {
  readonly data?: string;
  readonly socket?: string;
  readonly json: boolean;
}

/** Runs one command; resolves to the exit code and never rejects. */
export async function runCommandLine(args: readonly string[], io: CommandLine): Promise<number> {
  let exitCode = EXIT_OK;
  const program = new Command('croupier-agent')
    .description('Keeps the certificate, the trust bundle and the working keys of this device up to date.')
    .version(packageJson.version)
    .exitOverride()
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
    .showHelpAfterError('(see croupier-agent --help)');

  program
    .command('run')
    .description(
      'enrol the device if need be, stay connected to the gateway, and serve the applications of this device',
    )
    .requiredOption('--data <dir>', 'state of the agent, owner-only; one agent per directory')
    .option('--ticket <file>', 'ticket of the device engineer (mode 0600); needed until the device is enrolled')
    .option('--socket <path>', 'Unix socket for applications (default: run/agent.sock in the data directory)')
    .option('--export <dir>', 'also keep certificate, key, trust and working keys there as files')
    .addOption(
      new Option('--export-keys <where>', 'write working keys: to file systems in memory, always, or never')
        .choices(EXPORT_KEYS)
        .default('memory'),
    )
    .option('--on-change <command>', 'run this through sh -c after each change (see docs/agent.md)')
    .addOption(
      new Option('--key-type <type>', 'identity key that the agent generates (default: EC-P256)').choices(KEY_TYPES),
    )
    .option('--est-label <label>', 'EST label in the path of the enrolment URL')
    .option('--trust-file <path>', 'import trust links at start: a file, or a directory of *.der and *.p7m')
    .option('--storage-key-file <file>', 'key that encrypts secrets in the data directory (default: storage.key there)')
    .addOption(new Option('--log-level <level>', 'least level that is logged').choices(LOG_LEVELS).default('info'))
    .option('--json', 'log as JSON lines on standard output', false)
    .action(async ({ logLevel, json, ...options }: RunOptions) => {
      // Loaded here, so that `--help` and `status` do not wait for TLS and MQTT.
      const { runDaemon } = await import('./local/daemon.ts');
      await runDaemon(options, createDaemonLog(logLevel, json, json ? io.stdout : io.stderr), io.stopSignal());
    });

  program
    .command('status')
    .description('ask a running agent how it is; exits with 0 only when it is well')
    .option('--data <dir>', 'data directory of the running agent')
    .option('--socket <path>', 'its socket, when it is not the one in the data directory')
    .option('--json', 'print the whole answer as JSON', false)
    .action(async (options: StatusOptions) => {
      exitCode = await showStatus(options, io);
    });

  program
    .command('trust')
    .description('the trust bundle that this device holds')
    .command('export')
    .argument('<file>', 'where it goes: CMS, DER')
    .description('write the bundle as it was published, for a gateway that has lost it (croupier trust import)')
    .option('--data <dir>', 'data directory of the running agent')
    .option('--socket <path>', 'its socket, when it is not the one in the data directory')
    .option('--json', 'print the version and the file as JSON', false)
    .action(async (file: string, options: StatusOptions) => {
      await exportTrust(file, options, io);
    });

  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    return explain(asCroupierError(error, 'internal.unexpected', String(error)), args.includes('--json'), io);
  }
}

async function showStatus({ data, socket, json }: StatusOptions, io: CommandLine): Promise<number> {
  const path = socketPath(data, socket);
  const { document } = await askAgent(path, '/health', { accept: [200, 503] });
  const health = parseWith(Health, document, 'json.malformed', `the health document on ${path}`);
  io.stdout(json ? `${JSON.stringify(health)}\n` : statusReport(health));
  const code = STATUS_ERRORS[health.status];
  return code === undefined ? EXIT_OK : exitCodeOf(code);
}

const HeldBundle = z.looseObject({ version: TrustVersion, bundle: z.base64().min(1) });

/** Errors: `agent.not-enrolled`, `agent.not-running`, `input.invalid` when the file cannot be made. */
async function exportTrust(file: string, { data, socket, json }: StatusOptions, io: CommandLine): Promise<void> {
  const path = socketPath(data, socket);
  const { document } = await askAgent(path, '/trust');
  const { version, bundle } = parseWith(HeldBundle, document, 'json.malformed', `the trust document on ${path}`);
  try {
    await writeFile(file, Buffer.from(bundle, 'base64'), { flag: 'wx', mode: 0o644 });
  } catch (error) {
    throw new CroupierError('input.invalid', `${file} cannot be written: ${errorMessage(error)}`, { cause: error });
  }
  io.stdout(json ? `${JSON.stringify({ version, file })}\n` : `trust bundle ${version} written to ${file}\n`);
}

function explain(error: CroupierError, json: boolean, io: CommandLine): number {
  const { code, message, remedy } = error;
  if (json) io.stdout(`${JSON.stringify({ error: { code, message, remedy } })}\n`);
  else io.stderr(`error: ${message}\nwhat to do: ${remedy}\ncode: ${code}\n`);
  return exitCodeOf(code);
}
