/** Walks through the pages of a list. */
export const PAGE = 1_000;

/** Items of all pages, at most `limit`. */
export async function allItems<Item, Next>(
  page: (after: Next | undefined) => Promise<{ readonly items: readonly Item[]; readonly next: Next | null }>,
  limit = Number.POSITIVE_INFINITY,
): Promise<readonly Item[]> {
  const items: Item[] = [];
  let after: Next | undefined;
  do {
    const { items: more, next } = await page(after);
    items.push(...more);
    after = next ?? undefined;
  } while (after !== undefined && items.length < limit);
  return items.slice(0, limit);
}
