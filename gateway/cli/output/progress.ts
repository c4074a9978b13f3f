/** Progress of something that takes a while: one bar that is redrawn on a terminal, plain lines elsewhere. */
import type { Clock } from '#schema/runtime/clock.ts';
import type { Terminal } from './terminal.ts';
import { paintWith, printable, widthOf } from './text.ts';

export interface ProgressState {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** What else there is to say, e.g. `3 offline`. */
  readonly note?: string;
}

export interface Progress {
  update(state: ProgressState): void;
  /** Leaves the last state standing. */
  end(): void;
}

/** Plain lines come no closer together than this, unless what is being done changes. */
const PLAIN_INTERVAL_MS = 2_000;
const BAR = 30;
const ERASE_LINE = '\r\u001b[K';

/** `[######----] 60% 3/5`; full only when everything is done. */
export function progressBar(done: number, total: number, width = BAR): string {
  const fraction = total === 0 ? 1 : Math.min(1, done / total);
  const filled = Math.floor(fraction * width);
  return `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}] ${String(Math.floor(fraction * 100)).padStart(3)}% ${done}/${total}`;
}

/** Cuts what would wrap, since a wrapped line cannot be redrawn. */
function fit(text: string, columns: number): string {
  let width = 0;
  let kept = '';
  for (const character of text) {
    width += widthOf(character);
    if (width >= columns) break;
    kept += character;
  }
  return kept;
}

export function createProgress(terminal: Terminal, clock: Clock): Progress {
  return terminal.live ? liveProgress(terminal) : plainProgress(terminal, clock);
}

const noteOf = ({ note }: ProgressState): string => (note === undefined || note === '' ? '' : `  ${printable(note)}`);

function liveProgress(terminal: Terminal): Progress {
  const paint = paintWith(terminal.colour);
  let shown: ProgressState | undefined;
  return {
    update(state) {
      if (shown !== undefined && shown.label !== state.label) terminal.stderr('\n');
      const bar = progressBar(state.done, state.total);
      const label = `${printable(state.label)} `;
      const room = terminal.columns - widthOf(label) - widthOf(bar);
      const style = state.done >= state.total ? 'green' : 'cyan';
      terminal.stderr(`${ERASE_LINE}${label}${paint(style, bar)}${fit(noteOf(state), Math.max(0, room))}`);
      shown = state;
    },
    end() {
      if (shown !== undefined) terminal.stderr('\n');
      shown = undefined;
    },
  };
}

function plainProgress(terminal: Terminal, clock: Clock): Progress {
  let shown: { readonly state: ProgressState; readonly line: string; readonly at: number } | undefined;
  let waiting: string | undefined;
  const show = (state: ProgressState, line: string): void => {
    terminal.stderr(line);
    shown = { state, line, at: clock.monotonic() };
    waiting = undefined;
  };
  return {
    update(state) {
      const line = `${printable(state.label)}: ${state.done}/${state.total}${noteOf(state)}\n`;
      if (line === shown?.line) {
        waiting = undefined;
        return;
      }
      const changed = shown === undefined || shown.state.label !== state.label || state.done >= state.total;
      if (changed || clock.monotonic() - (shown?.at ?? 0) >= PLAIN_INTERVAL_MS) show(state, line);
      else waiting = line;
    },
    end() {
      if (waiting !== undefined) terminal.stderr(waiting);
      waiting = undefined;
      shown = undefined;
    },
  };
}
