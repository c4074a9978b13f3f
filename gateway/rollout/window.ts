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
  /**
   * When devices of the site will have been open to changes for so long since `from`, at a moment at which they are;
   * undefined when that is never, or too far ahead to be told.
   */
  afterOpen(site: string, from: Date, openMs: number): Date | undefined;
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
/** So many windows are looked ahead, from so many different times. */
const LOOK_AHEAD = 1_000;
const LEDGERS_KEPT = 8;

/** Lists of hours count as times of the day, too: a change of the clocks moves such a window, and drops none. */
function schedule({ cron, timeZone }: WindowPolicy): Cron {
  return new Cron(cron, { mode: '5-part', timezone: timeZone, fixedTimeRule: 'no-wildcard', paused: true });
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

/** The windows of one site since some time, and for how long they were open before each. */
class Ledger {
  private readonly opened: { readonly at: number; readonly before: number }[] = [];
  private next: number | undefined;
  private total = 0;
  private readonly ask: (time: number) => WindowAt;

  constructor(from: number, ask: (time: number) => WindowAt) {
    this.next = from;
    this.ask = ask;
  }

  afterOpen(openMs: number): Date | undefined {
    while (this.total <= openMs && this.next !== undefined && this.opened.length < LOOK_AHEAD) this.extend(this.next);
    if (this.total <= openMs) return undefined;
    const entry = this.opened.findLast(({ before }) => before <= openMs);
    return entry === undefined ? undefined : new Date(entry.at + openMs - entry.before);
  }

  private extend(from: number): void {
    const now = this.ask(from);
    const at = now.open ? from : now.opensAt?.getTime();
    const open = at === undefined || now.open ? now : this.ask(at);
    if (at === undefined || !open.open) {
      this.next = undefined;
      return;
    }
    this.opened.push({ at, before: this.total });
    this.next = open.until?.getTime();
    this.total += (this.next ?? Infinity) - at;
  }
}

class SiteWindow {
  private readonly runs: Cron;
  private readonly duration: number;
  private readonly spans: Span[] = [];
  private readonly ledgers = new Map<number, Ledger>();

  constructor(policy: WindowPolicy) {
    this.runs = schedule(policy);
    this.duration = policy.duration;
  }

  at(time: number): WindowAt {
    const known = this.spans.find(({ from, to }) => from <= time && time < to);
    if (known !== undefined) return known.answer;
    const found = spanAt(this.runs, this.duration, time);
    this.spans.unshift(found);
    this.spans.length = Math.min(this.spans.length, SPANS_KEPT);
    return found.answer;
  }

  afterOpen(from: number, openMs: number): Date | undefined {
    let ledger = this.ledgers.get(from);
    if (ledger === undefined) {
      ledger = new Ledger(from, (time) => this.at(time));
      this.ledgers.set(from, ledger);
      const [oldest] = this.ledgers.keys();
      if (oldest !== undefined && this.ledgers.size > LEDGERS_KEPT) this.ledgers.delete(oldest);
    }
    return ledger.afterOpen(openMs);
  }
}

/**
 * Windows by site. A window is open from each time of its cron expression for its duration of elapsed time, so that a
 * change of the clocks makes none shorter. Answers are remembered for as long as they hold, which makes asking for every
 * device cheap; the clock may step in either direction.
 */
export function createWindows(policy: Readonly<Record<string, WindowPolicy>>): SiteWindows {
  const sites = new Map(Object.entries(policy).map(([site, window]) => [site, new SiteWindow(window)]));
  return {
    at: (site, now) => sites.get(site)?.at(now.getTime()) ?? ALWAYS,
    afterOpen(site, from, openMs) {
      const window = sites.get(site);
      return window === undefined ? new Date(from.getTime() + openMs) : window.afterOpen(from.getTime(), openMs);
    },
  };
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** Refuses what is no cron expression of five fields, or no time zone. Errors: `config.invalid`, naming the key. */
export function checkWindow(site: string, policy: WindowPolicy): void {
  const refuse = (field: string, why: string): never => {
    throw new CroupierError('config.invalid', `policy: rollouts.windows.${site}.${field}: ${why}`);
  };
  if (!isTimeZone(policy.timeZone)) refuse('timeZone', `${policy.timeZone} is no IANA time zone`);
  // croner takes `?` for the time at which it reads it, and names such as @daily for five fields.
  if (/[?@]/.test(policy.cron)) refuse('cron', 'five fields are needed: minute, hour, day, month, day of the week');
  let next: Date | null = null;
  try {
    next = schedule(policy).nextRun();
  } catch (error) {
    refuse('cron', errorMessage(error));
  }
  if (next === null) refuse('cron', `${policy.cron} never comes`);
}
