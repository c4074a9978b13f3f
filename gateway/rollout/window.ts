/** Maintenance windows: when devices of a site may be changed. */
import { Cron } from 'croner';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import type { WindowPolicy } from '#schema/rollout-plan.ts';

export type WindowAt =
  /** `until`: undefined when no end is in sight. */
  | { readonly open: true; readonly until: Date | undefined }
  /** `opensAt`: undefined when it never does. */
  | { readonly open: false; readonly opensAt: Date | undefined };

export interface SiteWindows {
  /** Whether devices of the site may be changed at this time. A site without a window is always open. */
  at(site: string, now: Date): WindowAt;
}

/** An answer and the time for which it holds: from `from` on, before `to`. */
interface Span {
  readonly from: number;
  readonly to: number;
  readonly answer: WindowAt;
}

const ALWAYS: WindowAt = { open: true, until: undefined };

/** Windows that touch or overlap are one; so many are put together, then the end counts as out of sight. */
const MERGED_AT_MOST = 64;
/** Spans remembered for each site: those around now, and those that plans look ahead to. */
const SPANS_KEPT = 16;

function schedule({ cron, timeZone }: WindowPolicy): Cron {
  return new Cron(cron, { mode: '5-part', timezone: timeZone, paused: true });
}

/** The span around `now`: from the run that opened it, or from now to the next run. */
function spanAt(runs: Cron, duration: number, now: number): Span {
  const first = runs.nextRun(new Date(now - duration))?.getTime();
  if (first === undefined) return { from: now, to: Infinity, answer: { open: false, opensAt: undefined } };
  if (first > now) return { from: now, to: first, answer: { open: false, opensAt: new Date(first) } };
  let end = first + duration;
  for (let merged = 0; merged < MERGED_AT_MOST; merged += 1) {
    // The last run up to and with the end: `previousRuns` looks strictly before a whole second.
    const last = runs.previousRuns(1, new Date(end + 1_000))[0]?.getTime() ?? first;
    if (last + duration <= end) return { from: first, to: end, answer: { open: true, until: new Date(end) } };
    end = last + duration;
  }
  return { from: first, to: end, answer: ALWAYS };
}

/**
 * Windows by site. A window is open from each time of its cron expression for its duration of elapsed time, so that a
 * change of the clocks makes none shorter. Answers are remembered for as long as they hold, which makes asking for every
 * device cheap; the clock may step in either direction.
 */
export function createWindows(policy: Readonly<Record<string, WindowPolicy>>): SiteWindows {
  const sites = new Map(
    Object.entries(policy).map(([site, window]) => {
      const spans: Span[] = [];
      return [site, { runs: schedule(window), duration: window.duration, spans }];
    }),
  );
  return {
    at(site, now) {
      const window = sites.get(site);
      if (window === undefined) return ALWAYS;
      const time = now.getTime();
      const known = window.spans.find(({ from, to }) => from <= time && time < to);
      if (known !== undefined) return known.answer;
      const found = spanAt(window.runs, window.duration, time);
      window.spans.unshift(found);
      window.spans.length = Math.min(window.spans.length, SPANS_KEPT);
      return found.answer;
    },
  };
}

/** Refuses what is no cron expression of five fields, or no time zone. Errors: `config.invalid`, naming the key. */
export function checkWindow(site: string, policy: WindowPolicy): void {
  const refuse = (field: string, why: string): never => {
    throw new CroupierError('config.invalid', `policy: rollouts.windows.${site}.${field}: ${why}`);
  };
  try {
    new Intl.DateTimeFormat('en', { timeZone: policy.timeZone });
  } catch {
    refuse('timeZone', `${policy.timeZone} is no IANA time zone`);
  }
  let next: Date | null = null;
  try {
    next = schedule(policy).nextRun();
  } catch (error) {
    refuse('cron', errorMessage(error));
  }
  if (next === null) refuse('cron', `${policy.cron} never comes`);
}
