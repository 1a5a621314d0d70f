/** Which lines of a long list are drawn. No DOM. */

/** @returns [from, to): those in view and `overscan` more on either side */
export function windowOf(
  view: { readonly top: number; readonly height: number },
  line: number,
  count: number,
  overscan: number,
): readonly [from: number, to: number] {
  const first = Math.floor(view.top / line) - overscan;
  const last = Math.ceil((view.top + view.height) / line) + overscan;
  const from = Math.max(0, Math.min(count, first));
  return [from, Math.max(from, Math.min(count, last))];
}

/** How far to scroll so that a line can be seen, as little as possible; `undefined` where it can be already, or nothing can. */
export function scrollTo(
  view: { readonly top: number; readonly height: number },
  line: number,
  index: number,
): number | undefined {
  const top = index * line;
  // A page that was not laid out yet has no height.
  if (view.height === 0) return undefined;
  if (top < view.top) return top;
  if (top + line > view.top + view.height) return top + line - view.height;
  return undefined;
}
