/**
 * How long work will still take, by its speed since the first call: work resumed and what came before count as done, but
 * say nothing about speed. Give it the share done (0 to 1); it returns seconds, undefined before anything was seen to move.
 */
export function timeLeft(now: () => number = () => performance.now()): (done: number) => number | undefined {
  let origin: { readonly done: number; readonly time: number } | undefined;
  return (done) => {
    const time = now();
    origin ??= { done, time };
    if (done <= origin.done) return undefined;
    return (((time - origin.time) / (done - origin.done)) * (1 - done)) / 1000;
  };
}
