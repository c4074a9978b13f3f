/** How a command joins the command line. */
import type { Command } from 'commander';
import type { Output } from '../output/terminal.ts';

export interface Surroundings {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Where progress and reports go: not to standard output when that is for one JSON document. */
  readonly outputFor: (json: boolean) => Output;
  /** From this call on signals end the command in order: they abort what is returned. */
  readonly stopSignal: () => AbortSignal;
}

export type Register = (program: Command, surroundings: Surroundings, exitWith: (code: number) => void) => void;
