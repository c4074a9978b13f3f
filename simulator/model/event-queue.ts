/** Events of the model in the order of their times; those of one time in the order in which they were put in. */

const ARITY = 4;
const FIRST_CAPACITY = 1024;

/** Most events lie days ahead; what comes within the hour is little, and stays where the processor has it at hand. */
const HOUR = 3_600_000;
const FIELDS = 4;

/**
 * A heap over flat arrays: a year of a large floor is tens of millions of events, so that none of them may be an object.
 * In the heap are those of the present hour; those of later hours wait in the order in which they were put in. `pop` leaves
 * the event in the fields.
 */
export class EventQueue {
  at = 0;
  kind = 0;
  subject = 0;
  /** Told by who put the event in, for events that may have lost their meaning meanwhile. */
  mark = 0;
  /** The hour in the heap, and all before it. */
  private hour = Number.NEGATIVE_INFINITY;
  private lastHour = Number.NEGATIVE_INFINITY;
  private readonly later = new Map<number, number[]>();
  private length = 0;
  private order = 0;
  private times = new Float64Array(FIRST_CAPACITY);
  private orders = new Float64Array(FIRST_CAPACITY);
  private kinds = new Uint8Array(FIRST_CAPACITY);
  private subjects = new Int32Array(FIRST_CAPACITY);
  private marks = new Int32Array(FIRST_CAPACITY);

  /** Time of the next event; infinite if there is none. */
  get next(): number {
    if (this.length === 0) this.turnToNextHour();
    return this.length === 0 ? Number.POSITIVE_INFINITY : (this.times[0] ?? 0);
  }

  /** An event at an infinite time never comes, and is not kept. */
  push(at: number, kind: number, subject: number, mark = 0): void {
    if (at === Number.POSITIVE_INFINITY) return;
    const hour = Math.floor(at / HOUR);
    if (hour <= this.hour) {
      this.insert(at, kind, subject, mark);
      return;
    }
    this.lastHour = Math.max(this.lastHour, hour);
    const waiting = this.later.get(hour);
    if (waiting === undefined) this.later.set(hour, [at, kind, subject, mark]);
    else waiting.push(at, kind, subject, mark);
  }

  pop(): boolean {
    if (this.length === 0) this.turnToNextHour();
    if (this.length === 0) return false;
    this.at = this.times[0] ?? 0;
    this.kind = this.kinds[0] ?? 0;
    this.subject = this.subjects[0] ?? 0;
    this.mark = this.marks[0] ?? 0;
    this.length -= 1;
    if (this.length > 0) this.sink(this.length);
    return true;
  }

  /** Nothing is left of the hours before, so that those who waited come in the order in which they were put in. */
  private turnToNextHour(): void {
    if (this.later.size === 0) return;
    if (this.hour === Number.NEGATIVE_INFINITY) this.hour = Math.min(...this.later.keys()) - 1;
    while (this.length === 0 && this.hour < this.lastHour) {
      this.hour += 1;
      const events = this.later.get(this.hour);
      if (events === undefined) continue;
      this.later.delete(this.hour);
      for (let place = 0; place < events.length; place += FIELDS)
        this.insert(events[place] ?? 0, events[place + 1] ?? 0, events[place + 2] ?? 0, events[place + 3] ?? 0);
    }
  }

  private insert(at: number, kind: number, subject: number, mark: number): void {
    if (this.length === this.times.length) this.grow();
    this.order += 1;
    const { times } = this;
    let hole = this.length;
    this.length += 1;
    while (hole > 0) {
      const parent = Math.floor((hole - 1) / ARITY);
      // A later order at the same time goes behind, so that only an earlier time moves up.
      if ((times[parent] ?? 0) <= at) break;
      this.move(parent, hole);
      hole = parent;
    }
    this.put(hole, at, this.order, kind, subject, mark);
  }

  /** Finds the place of the last event, from the root downwards. */
  private sink(last: number): void {
    const { times, orders, length } = this;
    const at = times[last] ?? 0;
    const order = orders[last] ?? 0;
    let hole = 0;
    for (;;) {
      const first = hole * ARITY + 1;
      if (first >= length) break;
      const end = Math.min(first + ARITY, length);
      let least = first;
      for (let child = first + 1; child < end; child += 1) {
        if (this.isBefore(times[child] ?? 0, orders[child] ?? 0, least)) least = child;
      }
      if (!this.isAfter(at, order, least)) break;
      this.move(least, hole);
      hole = least;
    }
    this.put(hole, at, order, this.kinds[last] ?? 0, this.subjects[last] ?? 0, this.marks[last] ?? 0);
  }

  private isBefore(at: number, order: number, other: number): boolean {
    const time = this.times[other] ?? 0;
    return at < time || (at === time && order < (this.orders[other] ?? 0));
  }

  private isAfter(at: number, order: number, other: number): boolean {
    const time = this.times[other] ?? 0;
    return at > time || (at === time && order > (this.orders[other] ?? 0));
  }

  private put(place: number, at: number, order: number, kind: number, subject: number, mark: number): void {
    this.times[place] = at;
    this.orders[place] = order;
    this.kinds[place] = kind;
    this.subjects[place] = subject;
    this.marks[place] = mark;
  }

  private move(from: number, to: number): void {
    this.times[to] = this.times[from] ?? 0;
    this.orders[to] = this.orders[from] ?? 0;
    this.kinds[to] = this.kinds[from] ?? 0;
    this.subjects[to] = this.subjects[from] ?? 0;
    this.marks[to] = this.marks[from] ?? 0;
  }

  private grow(): void {
    const capacity = this.times.length * 2;
    const widen = <T extends Float64Array | Uint8Array | Int32Array>(wider: T, narrow: T): T => {
      wider.set(narrow);
      return wider;
    };
    this.times = widen(new Float64Array(capacity), this.times);
    this.orders = widen(new Float64Array(capacity), this.orders);
    this.kinds = widen(new Uint8Array(capacity), this.kinds);
    this.subjects = widen(new Int32Array(capacity), this.subjects);
    this.marks = widen(new Int32Array(capacity), this.marks);
  }
}
