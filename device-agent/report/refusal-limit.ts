/** Keeps a flood of refused messages from becoming a flood of reports. The first refusal of a kind is never held back. */
import type { UpdateResult } from '#schema/messages/report.ts';
import { MAX_RESULTS, withResult } from '../state/state.ts';

export class RefusalLimit {
  private readonly intervalMs: number;
  private readonly lastAt = new Map<string, number>();
  private held: UpdateResult[] = [];

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** Whether this refusal is to be reported at once; if not, it is kept for `take`. */
  admit(refusal: UpdateResult, nowMs: number): boolean {
    const kind = refusal.code ?? '';
    const last = this.lastAt.get(kind);
    if (last === undefined || nowMs - last >= this.intervalMs) {
      this.lastAt.set(kind, nowMs);
      return true;
    }
    this.held = withResult(this.held, refusal).slice(-MAX_RESULTS);
    return false;
  }

  /** What was held back, to go with the next report. */
  take(): UpdateResult[] {
    const taken = this.held;
    this.held = [];
    return taken;
  }

  get isHolding(): boolean {
    return this.held.length > 0;
  }
}
