// How lists are read: so many rows at a time, and up to a bound.

/** Rows of a list that is read whole, or first. */
export const PAGE = 500
/** Rows that a list shows at a time, and how often a person can ask for more of them. */
export const ROWS = 100
export const PAGES_MAX = 20

/** The cursor of the next page of a list, as long as the list is not too long to be read. */
export function nextPage(
  page: { next_cursor: string | null },
  pages: unknown[],
): string | undefined {
  return pages.length < PAGES_MAX ? (page.next_cursor ?? undefined) : undefined
}
