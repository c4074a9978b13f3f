/** How a device of the model comes and goes. */
import type { Stream } from './stream.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `reboot`: without power for some minutes. `leave`: to a warehouse or a workshop. `break`: only the line. */
export type Departure = 'reboot' | 'leave' | 'break';

/** Mean times, in milliseconds, until a device that is there departs; infinite for what it never does. */
export interface Habit {
  readonly name: 'steady' | 'wanderer' | 'flaky' | 'fixed';
  readonly reboot: number;
  readonly leave: number;
  readonly break: number;
  /** Messages in either direction that get lost though the line is up. */
  readonly loss: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const REBOOTS_A_DAY = 0.05;

export const STEADY: Habit = { name: 'steady', reboot: DAY / REBOOTS_A_DAY, leave: NEVER, break: 30 * DAY, loss: 0 };
export const WANDERER: Habit = {
  name: 'wanderer',
  reboot: DAY / REBOOTS_A_DAY,
  leave: 20 * DAY,
  break: 20 * DAY,
  loss: 0,
};
export const FLAKY: Habit = { name: 'flaky', reboot: 2 * DAY, leave: NEVER, break: 6 * HOUR, loss: 0.05 };
/** Servers, and devices whose coming and going somebody else decides. */
export const FIXED: Habit = { name: 'fixed', reboot: NEVER, leave: NEVER, break: NEVER, loss: 0 };

/** What the device does next, and when; undefined if it stays for ever. */
export function nextDeparture(
  habit: Habit,
  stream: Stream,
): { readonly how: Departure; readonly after: number } | undefined {
  let how: Departure | undefined;
  let after = NEVER;
  for (const one of ['reboot', 'leave', 'break'] as const) {
    if (habit[one] === NEVER) continue;
    const spell = stream.spell(habit[one]);
    if (spell < after) {
      after = spell;
      how = one;
    }
  }
  return how === undefined ? undefined : { how, after };
}

/** How long it is gone. */
export function absence(how: Departure, stream: Stream): number {
  switch (how) {
    case 'reboot':
      return stream.between(MINUTE, 10 * MINUTE);
    case 'break':
      return stream.between(1_000, 2 * MINUTE);
    case 'leave':
      return stream.between(14 * DAY, 160 * DAY);
  }
}
