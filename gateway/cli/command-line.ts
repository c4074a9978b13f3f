/** The command line of the gateway. Options become a call; what is thrown becomes a message and an exit code. */
import { Command, CommanderError } from 'commander';
import { asCroupierError, CroupierError } from '#schema/errors.ts';
import { EXIT_OK, EXIT_USAGE, exitCodeOf } from '#schema/exit-code.ts';
import { systemClock, type Clock } from '#schema/runtime/clock.ts';
import { systemRandom, type Random } from '#schema/runtime/random.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { registerAlert } from './commands/alert.ts';
import { registerApply } from './commands/apply.ts';
import { registerApproval } from './commands/approval.ts';
import { registerAudit } from './commands/audit.ts';
import { registerAuthority } from './commands/authority.ts';
import { registerCampaign } from './commands/campaign.ts';
import { registerCeremony } from './commands/ceremony.ts';
import { registerBackup } from './commands/backup.ts';
import { registerDevice } from './commands/device.ts';
import { registerDoctor } from './commands/doctor.ts';
import { registerGateway } from './commands/gateway.ts';
import { registerInit } from './commands/init.ts';
import { registerKeyset } from './commands/keyset.ts';
import { registerOperator } from './commands/operator.ts';
import type { Register, Run } from './commands/registration.ts';
import { registerRestore } from './commands/restore.ts';
import { registerRollout } from './commands/rollout.ts';
import { registerRotate } from './commands/rotate.ts';
import { registerStatus } from './commands/status.ts';
import { registerTrust } from './commands/trust.ts';
import { createConnector, type GlobalOptions } from './context.ts';
import type { Terminal } from './output/terminal.ts';
import { paintWith, printableLines } from './output/text.ts';

/** In the order in which an installation meets them. */
const COMMANDS: readonly Register[] = [
  registerInit,
  registerGateway,
  registerStatus,
  registerDoctor,
  registerApply,
  registerOperator,
  registerApproval,
  registerDevice,
  registerKeyset,
  registerRotate,
  registerRollout,
  registerCampaign,
  registerTrust,
  registerAuthority,
  registerCeremony,
  registerAlert,
  registerAudit,
  registerBackup,
  registerRestore,
];

export interface Surroundings {
  readonly terminal: Terminal;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Runs one command; resolves to the exit code and never rejects. */
export async function runCommandLine(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { terminal, clock = systemClock, random = systemRandom } = surroundings;
  const json = args.includes('--json');
  let exitCode = EXIT_OK;
  const program = new Command('croupier')
    .description('Deals keys and certificates to every device of a casino floor.')
    .version(packageJson.version)
    .option('--data <dir>', 'data directory of the gateway', 'var')
    .option('--as <operator>', 'speak as this operator, by the token in the data directory')
    .option('--token-file <file>', 'speak as the operator of this token (mode 0600)')
    .option('--api <url>', 'operator API of a gateway on another machine')
    .option('--ca <file>', "root certificate of the gateway's realm, PEM (default: ca/root.pem in the data directory)")
    .option('--json', 'print one JSON document on standard output')
    .exitOverride()
    .configureOutput({ writeOut: terminal.stdout, writeErr: json ? () => undefined : terminal.stderr })
    .showHelpAfterError('(add --help to see how it is used)');

  const run: Run =
    (body) =>
    async (...given) => {
      const options: GlobalOptions = program.opts();
      const connector = createConnector(options);
      try {
        const outcome = await body(
          { options, terminal, paint: paintWith(terminal.colour), clock, random, connect: connector.connect },
          ...given,
        );
        exitCode = outcome.exitCode ?? EXIT_OK;
        if (options.json === undefined) terminal.stdout(outcome.text);
        else if (outcome.document !== undefined) terminal.stdout(`${JSON.stringify(outcome.document)}\n`);
      } finally {
        connector.close();
      }
    };
  for (const register of COMMANDS) register(program, run);

  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return usage(error, json, terminal);
    return explain(asCroupierError(error, 'internal.unexpected', String(error)), json, terminal);
  }
}

/** Commander has told the fault itself, or printed the help that was asked for. */
function usage(error: CommanderError, json: boolean, terminal: Terminal): number {
  if (error.exitCode === 0) return EXIT_OK;
  if (json) {
    const message = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '');
    explain(new CroupierError('input.invalid', message), true, terminal);
  }
  return EXIT_USAGE;
}

function explain(error: CroupierError, json: boolean, terminal: Terminal): number {
  const { code, message, remedy, retryAfter } = error;
  if (json)
    terminal.stdout(
      `${JSON.stringify({ error: { code, message, remedy, ...(retryAfter === undefined ? {} : { retryAfter }) } })}\n`,
    );
  else terminal.stderr(`error: ${printableLines(message)}\nwhat to do: ${remedy}\ncode: ${code}\n`);
  return exitCodeOf(code);
}
