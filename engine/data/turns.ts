/** Work that takes much memory, one after another; other work beside each other meanwhile, but not beside it. */
export interface Turns {
  /** Several at once. */
  together<T>(this: void, work: () => Promise<T>): Promise<T>;
  /** Once all that came before has ended, and before anything that comes after begins. */
  alone<T>(this: void, work: () => Promise<T>): Promise<T>;
}

export function openTurns(): Turns {
  let lone: Promise<unknown> = Promise.resolve();
  let others: Promise<unknown>[] = [];
  const quietly = (work: Promise<unknown>) => work.then(ignore, ignore);
  return {
    together: (work) => {
      const own = lone.then(work);
      others.push(quietly(own));
      return own;
    },
    alone: (work) => {
      const own = Promise.all([lone, ...others]).then(work);
      lone = quietly(own);
      others = [];
      return own;
    },
  };
}

const ignore = () => undefined;
