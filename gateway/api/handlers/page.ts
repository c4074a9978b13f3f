/** Keyset pagination: one row more than the page shows whether there is another page. Pure. */
export function pageFrom<Item, Cursor>(
  found: readonly Item[],
  limit: number,
  cursor: (item: Item) => Cursor,
): { items: Item[]; next: Cursor | null } {
  const items = found.slice(0, limit);
  const last = items.at(-1);
  return { items, next: found.length > limit && last !== undefined ? cursor(last) : null };
}
