/** `croupier rotate`: shows what it would do, asks for the next version of a key set, waits for approval and devices. */
import { KeySetName } from '#schema/ids.ts';
import { parseWith } from '#schema/parse.ts';
import type { Context, Outcome } from '../context.ts';
import type { Register } from './registration.ts';
import { withTerms } from './rollout-terms.ts';
import { startRollout, type StartOptions } from './start-rollout.ts';

interface RotateOptions extends StartOptions {
  readonly reason?: string;
  readonly supersede?: true;
}

export const registerRotate: Register = (program, run) => {
  const command = program
    .command('rotate')
    .argument('<keyset>')
    .option('--reason <text>', 'stands in the request that is approved')
    .option('--supersede', 'end a rotation that is still on its way')
    .option('--yes', 'do not ask')
    .option('--no-wait', 'ask and return, without waiting for approval and devices')
    .description('make the next version of a key set and bring it to its devices (needs an approval)');
  withTerms(command).action(run((context, name: string, options: RotateOptions) => rotate(context, name, options)));
};

function rotate(context: Context, name: string, options: RotateOptions): Promise<Outcome> {
  const keySet = parseWith(KeySetName, name, 'input.invalid', 'key set');
  const { reason, supersede } = options;
  const about = { ...(reason === undefined ? {} : { reason }), ...(supersede === undefined ? {} : { supersede }) };
  return startRollout(
    context,
    {
      action: 'keyset.rotate',
      change: { kind: 'key-version', keySet },
      submit: (api, terms) => api.call('keyset.rotate', { params: { name }, body: { ...about, ...terms } }),
      begun: `the rotation of ${name} has begun\n`,
    },
    options,
  );
}
