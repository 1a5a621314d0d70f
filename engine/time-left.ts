/**
 * How long work will still take, by its speed since the first call, or the last one with nothing done: preparations, and work
 * resumed, say nothing about speed. Give it the share done (0 to 1); it returns seconds, undefined before anything was seen to move.
 */
export function timeLeft(now: () => number = () => performance.now()): (done: number) => number | undefined {
  let origin: { readonly done: number; readonly time: number } | undefined;
  return (done) => {
    const time = now();
    if (done === 0 || !origin) origin = { done, time };
    if (done <= origin.done) return undefined;
    return (((time - origin.time) / (done - origin.done)) * (1 - done)) / 1000;
  };
}

/** Seconds as people say them: 45 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
