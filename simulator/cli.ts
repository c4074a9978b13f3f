/** The command line of the simulator. Options become a call; what is thrown becomes a message and an exit code. */
import { Command, CommanderError } from 'commander';
import { EXIT_OK, EXIT_USAGE } from '#schema/exit-code.ts';
import packageJson from '../package.json' with { type: 'json' };
import { registerFloor } from './command/floor.ts';
import { registerList } from './command/list.ts';
import { registerModel } from './command/model.ts';
import type { Register, Surroundings } from './command/registration.ts';
import { registerRun } from './command/run.ts';
import { tellFailure } from './output/failure.ts';

const COMMANDS: readonly Register[] = [registerFloor, registerRun, registerList, registerModel];

/** Runs one command; resolves to the exit code and never rejects. */
export async function runCommandLine(args: readonly string[], surroundings: Surroundings): Promise<number> {
  let exitCode = EXIT_OK;
  const program = new Command('croupier-sim')
    .description('Floors of simulated devices: real agents that speak to a real gateway over the wire.')
    .version(packageJson.version)
    .exitOverride()
    .configureOutput({ writeOut: surroundings.stdout, writeErr: surroundings.stderr })
    .showHelpAfterError('(add --help to see how it is used)');
  for (const register of COMMANDS) {
    register(program, surroundings, (code) => {
      exitCode = code;
    });
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    return tellFailure(error, args.includes('--json'), surroundings);
  }
}
