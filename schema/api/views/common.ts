/** What several views share. Absent values are `null`, so that every view has all its members. */
import { z } from 'zod';

export const DEFAULT_PAGE = 100;
export const LARGEST_PAGE = 1_000;

/** Size of a page, as it stands in a query string. */
export const PageLimit = z.coerce.number().int().min(1).max(LARGEST_PAGE).default(DEFAULT_PAGE);

/** `true` or `false` in a query string. */
export const QueryFlag = z.enum(['true', 'false']).transform((text) => text === 'true');

/** One page: `next` is the `after` of the page that follows, null on the last one. */
export function pageOf<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{ items: z.ZodArray<Item>; next: z.ZodNullable<z.ZodString> }> {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}
