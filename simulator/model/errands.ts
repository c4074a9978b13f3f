/** What people do, and when: the same in all lanes. */
import { EventQueue } from './event-queue.ts';

const ERRAND = 0;

export class Errands {
  private readonly queue = new EventQueue();
  private readonly errands = new Map<number, () => void>();
  private numbered = 0;

  /** Time of the next one, in milliseconds since 1970; infinite if nobody has anything to do. */
  get next(): number {
    return this.queue.next;
  }

  add(time: number, errand: () => void): void {
    this.numbered += 1;
    this.errands.set(this.numbered, errand);
    this.queue.push(time, ERRAND, this.numbered);
  }

  /** All that are to be done by now, in their order. */
  run(now: number): void {
    while (this.queue.next <= now && this.queue.pop()) {
      const { subject } = this.queue;
      this.errands.get(subject)?.();
      this.errands.delete(subject);
    }
  }
}
