/** When an engine that crashed is started again: soon, then later and later, and not at all after the fifth time in three minutes. */

export interface Restarts {
  /** Counts a crash; returns the milliseconds to wait, or undefined to give up. */
  afterCrash(now: number): number | undefined;
  /** Forgets earlier crashes. */
  clear(): void;
}

const WINDOW_MILLISECONDS = 3 * 60_000;
const MAX_CRASHES = 5;
const FIRST_MILLISECONDS = 500;

export function createRestarts(): Restarts {
  let crashes: number[] = [];
  return {
    afterCrash: (now) => {
      crashes = [...crashes.filter((time) => now - time < WINDOW_MILLISECONDS), now];
      return crashes.length < MAX_CRASHES ? FIRST_MILLISECONDS * 2 ** (crashes.length - 1) : undefined;
    },
    clear: () => {
      crashes = [];
    },
  };
}
