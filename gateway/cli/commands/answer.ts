/** What a command answered: done, or waiting for another person. */
import type { CommandAnswer } from '#schema/api/commands.ts';
import type { Outcome } from '../context.ts';
import { printable } from '../output/text.ts';

export type Asked = Extract<CommandAnswer, { state: 'approval-required' }>['approval'];

/** Says who has to do what next. */
export function describeAsked({ id, summary, sha256, expiresAt }: Asked): string {
  return [
    `approval needed: ${printable(summary)}`,
    `  request  ${id}`,
    `  sha256   ${sha256}`,
    `  expires  ${expiresAt}`,
    `an approver looks at it and decides with: croupier approval approve ${id}`,
    '',
  ].join('\n');
}

export function outcomeOf(answer: CommandAnswer, done: string): Outcome {
  return { document: answer, text: answer.state === 'done' ? done : describeAsked(answer.approval) };
}
