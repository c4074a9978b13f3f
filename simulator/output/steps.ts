/** Steps of a run, one after the other: measured, with a bar on a terminal and plain lines elsewhere. */
import { CroupierError } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Output } from './terminal.ts';

export interface StepResult {
  readonly name: string;
  readonly seconds: number;
  /** How many things were done; undefined for a step that is one thing. */
  readonly count: number | undefined;
  readonly note: string;
}

export interface Step {
  /** How many are done; `note` says what else there is to see. */
  progress(done: number, note?: string): void;
}

export interface StepOptions {
  /** How many things there are to do. */
  readonly total?: number;
}

export interface Steps {
  readonly results: readonly StepResult[];
  /** Nothing is shown any more, and no step begins: what is still under way belongs to a run that has failed. */
  close(): void;
  /** Runs one step; what `work` resolves to with `note` is shown behind it. */
  run<T>(
    name: string,
    options: StepOptions,
    work: (step: Step) => Promise<T>,
    note?: (result: T) => string,
  ): Promise<T>;
}

const BAR = 24;
const NAME_WIDTH = 22;
const REDRAW_MS = 80;
const PLAIN_MS = 3_000;
const ERASE = '\r\u001b[K';

const bar = (done: number, total: number): string => {
  const filled = Math.floor((Math.min(done, total) / total) * BAR);
  return `[${'='.repeat(filled)}${' '.repeat(BAR - filled)}]`;
};

export const secondsOf = (seconds: number): string => `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;

export function createSteps(output: Output, clock: Clock): Steps {
  const results: StepResult[] = [];
  const { live, paint } = output;
  let isClosed = false;
  const write = (text: string): void => {
    if (!isClosed) output.write(text);
  };

  const draw = (name: string, done: number, total: number | undefined, note: string): void => {
    const head = `  ${name.padEnd(NAME_WIDTH)}`;
    const middle = total === undefined || total === 0 ? '' : ` ${live ? `${bar(done, total)} ` : ''}${done}/${total}`;
    const text = `${head}${middle}${note === '' ? '' : `  ${note}`}`;
    write(live ? `${ERASE}${text.slice(0, output.columns - 1)}` : `${text}\n`);
  };

  return {
    results,
    close: () => {
      isClosed = true;
    },
    async run(name, { total }, work, describe) {
      if (isClosed) throw new CroupierError('internal.unexpected', `${name}: the run has ended`);
      const begun = clock.monotonic();
      let drawnAt = begun;
      let count: number | undefined = total;
      if (live) draw(name, 0, total, '');
      const result = await work({
        progress: (done, note = '') => {
          count = done;
          const now = clock.monotonic();
          if (now - drawnAt < (live ? REDRAW_MS : PLAIN_MS)) return;
          drawnAt = now;
          draw(name, done, total, note);
        },
      }).catch((error: unknown) => {
        write(`${live ? ERASE : ''}  ${name.padEnd(NAME_WIDTH)} ${paint('red', 'failed')}\n`);
        throw error;
      });
      const seconds = (clock.monotonic() - begun) / 1000;
      const step = { name, seconds, count, note: describe?.(result) ?? '' };
      results.push(step);
      write(
        `${live ? ERASE : ''}  ${name.padEnd(NAME_WIDTH)} ${paint('green', 'done')} in ${secondsOf(seconds)}${tail(step)}\n`,
      );
      return result;
    },
  };
}

function tail({ count, note, seconds }: StepResult): string {
  const parts = [count === undefined ? '' : `${count}${rateOf(count, seconds)}`, note].filter((part) => part !== '');
  return parts.length === 0 ? '' : `  ${parts.join(', ')}`;
}

/** Only where it says something. */
export function rateOf(count: number, seconds: number): string {
  return count < 2 || seconds < 0.01 ? '' : ` (${Math.round(count / seconds)}/s)`;
}
