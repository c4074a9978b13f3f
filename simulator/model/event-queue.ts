/** Events of the model in the order of their times; those of one time in the order in which they were put in. */

const ARITY = 4;
const FIRST_CAPACITY = 1024;

/**
 * A heap over flat arrays: a year of a large floor is tens of millions of events, so that none of them may be an object.
 * `pop` leaves the event in the fields.
 */
export class EventQueue {
  at = 0;
  kind = 0;
  subject = 0;
  /** Told by who put the event in, for events that may have lost their meaning meanwhile. */
  mark = 0;
  private length = 0;
  private order = 0;
  private times = new Float64Array(FIRST_CAPACITY);
  private orders = new Float64Array(FIRST_CAPACITY);
  private kinds = new Uint8Array(FIRST_CAPACITY);
  private subjects = new Int32Array(FIRST_CAPACITY);
  private marks = new Int32Array(FIRST_CAPACITY);

  get size(): number {
    return this.length;
  }

  /** Time of the next event; infinite if there is none. */
  get next(): number {
    return this.length === 0 ? Number.POSITIVE_INFINITY : (this.times[0] ?? 0);
  }

  push(at: number, kind: number, subject: number, mark = 0): void {
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

  pop(): boolean {
    if (this.length === 0) return false;
    this.at = this.times[0] ?? 0;
    this.kind = this.kinds[0] ?? 0;
    this.subject = this.subjects[0] ?? 0;
    this.mark = this.marks[0] ?? 0;
    this.length -= 1;
    if (this.length > 0) this.sink(this.length);
    return true;
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
