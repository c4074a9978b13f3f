import { expect, test } from 'vitest';
import { Looks } from '#simulator/model/looks.ts';

const NEVER = Number.POSITIVE_INFINITY;

test('given devices beyond the first thousands, when looks are planned, moved and given up, then each has its own, and the others none', () => {
  const looks = new Looks();
  looks.set(3, 500);
  looks.set(70_000, 900);
  looks.set(3, 400);
  expect([looks.at(3), looks.at(70_000), looks.at(4), looks.at(5_000_000)]).toEqual([400, 900, NEVER, NEVER]);
  looks.clear(3);
  looks.clear(4);
  expect([looks.at(3), looks.at(70_000)]).toEqual([NEVER, 900]);
});
