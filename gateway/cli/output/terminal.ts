/** What the command line sees of the process around it. Results go to stdout, everything else to stderr. */

export interface Terminal {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Whether results may be coloured. */
  readonly colour: boolean;
  /** Whether somebody watches stderr: bars there, else plain lines. */
  readonly live: boolean;
  /** Width of the terminal, or a default. */
  readonly columns: number;
  /** Whether somebody can be asked. */
  readonly canAsk: boolean;
  /** Asks a question and resolves to the line that was typed; undefined at the end of the input. */
  readonly ask: (question: string) => Promise<string | undefined>;
  /** From this call on signals end the command in order: they abort what is returned. */
  readonly stopSignal: () => AbortSignal;
}
