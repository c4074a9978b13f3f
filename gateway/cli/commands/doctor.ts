/** `croupier doctor`: what is wrong with an installation, and how to mend it. */
import { EXIT_OK, exitCodeOf } from '#schema/exit-code.ts';
import type { Context, Outcome } from '../context.ts';
import type { CheckState, Finding } from '../doctor/check.ts';
import { countOf, printable, type Paint, type Style } from '../output/text.ts';
import type { Register } from './registration.ts';

const STYLES: Readonly<Record<CheckState, Style>> = { ok: 'green', warn: 'yellow', fail: 'red', skipped: 'dim' };

export const registerDoctor: Register = (program, run) => {
  program
    .command('doctor')
    .description('look at everything that an installation needs, with the gateway running or not')
    .action(
      run(async (context: Context): Promise<Outcome> => {
        const { examine } = await import('../doctor/examine.ts');
        return outcomeOf(await examine(context.options.data, context.clock), context.paint);
      }),
    );
};

function outcomeOf(findings: readonly Finding[], paint: Paint): Outcome {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.map(({ check, state, message, remedy }) => {
    const line = `${paint(STYLES[state], state.padEnd(7))}  ${check.padEnd(width)}  ${printable(message)}\n`;
    return remedy === undefined ? line : `${line}${' '.repeat(width + 11)}${remedy}\n`;
  });
  const failed = findings.filter(({ state }) => state === 'fail');
  const warned = findings.filter(({ state }) => state === 'warn');
  const verdict = failed.length > 0 ? 'fail' : warned.length > 0 ? 'warn' : 'ok';
  const summary = `${countOf(findings.length, 'check')}: ${failed.length} failed, ${countOf(warned.length, 'warning')}\n`;
  return {
    document: { state: verdict, findings },
    text: lines.join('') + summary,
    exitCode: failed[0]?.code === undefined ? EXIT_OK : exitCodeOf(failed[0].code),
  };
}
