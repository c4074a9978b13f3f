/** Asking before something happens. */
import { CroupierError } from '#schema/errors.ts';
import type { Terminal } from '../output/terminal.ts';

/** Errors: `input.invalid` when nobody can be asked; `instead` names the option that answers. */
export async function confirm(terminal: Terminal, question: string, instead: string): Promise<boolean> {
  if (!terminal.canAsk) {
    throw new CroupierError('input.invalid', `nobody can be asked without a terminal; pass ${instead} to go on`);
  }
  const answer = await terminal.ask(`${question} [y/N] `);
  return answer !== undefined && /^y(?:es)?$/i.test(answer.trim());
}
