import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventQueue } from '#simulator/model/event-queue.ts';

/** Several events of one time, several times of one hour, and hours that have passed. */
const THIRTEEN_MINUTES = 13 * 60_000;

function drain(queue: EventQueue): (readonly [number, number])[] {
  const taken: (readonly [number, number])[] = [];
  while (queue.pop()) taken.push([queue.at, queue.subject]);
  return taken;
}

describe('events in the order of their times', () => {
  test('given events put in at any time, also while others are taken out, then they come by time, and by order within one time', () => {
    const moves = fc.array(
      fc.record({ at: fc.nat(50).map((number) => number * THIRTEEN_MINUTES), take: fc.boolean() }),
      { maxLength: 3_000 },
    );
    fc.assert(
      fc.property(moves, (list) => {
        const queue = new EventQueue();
        const waiting: { readonly at: number; readonly subject: number }[] = [];
        const next = (): number => {
          const least = waiting.reduce((found, one) => (one.at < found.at ? one : found));
          waiting.splice(waiting.indexOf(least), 1);
          return least.subject;
        };
        list.forEach(({ at, take }, subject) => {
          queue.push(at, 1, subject);
          waiting.push({ at, subject });
          if (!take) return;
          expect(queue.pop()).toBe(true);
          expect(queue.subject).toBe(next());
        });
        const rest = drain(queue).map(([, subject]) => subject);
        expect(rest).toEqual(rest.map(() => next()));
        expect(queue.next).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });

  test('given more events than it has room for, then it grows and keeps what came with each', () => {
    const queue = new EventQueue();
    for (let at = 5_000; at > 0; at -= 1) queue.push(at, at % 7, at, -at);
    for (let at = 1; at <= 5_000; at += 1) {
      expect(queue.next).toBe(at);
      queue.pop();
      expect([queue.kind, queue.subject, queue.mark]).toEqual([at % 7, at, -at]);
    }
    expect(queue.pop()).toBe(false);
  });

  test('given years in which nothing happens, and an event that never comes, then the others come in their order', () => {
    const queue = new EventQueue();
    const year = 365 * 86_400_000;
    for (const [subject, at] of [3 * year, year, Number.POSITIVE_INFINITY, year].entries()) queue.push(at, 1, subject);
    expect(queue.next).toBe(year);
    expect(drain(queue)).toEqual([
      [year, 1],
      [year, 3],
      [3 * year, 0],
    ]);
  });
});
