/** Promises by key: what takes long is asked for once. */

/** What `ask` promised when it was first called for this key. A promise that was rejected is forgotten, and asked for again. */
export function remembered<T>(
  known: Map<string, Promise<T>>,
  key: string,
  ask: () => Promise<T>,
): Promise<T> {
  const before = known.get(key);
  if (before) return before;
  const promise = ask();
  known.set(key, promise);
  promise.catch(() => {
    // By now the key may have a promise that was made after this one was let go.
    if (known.get(key) === promise) known.delete(key);
  });
  return promise;
}

/** Lets go of everything and disposes of what was or will be made; rejects with the first failure to, after all of it. */
export async function disposeRemembered(
  known: Map<string, Promise<{ dispose(): Promise<void> }>>,
): Promise<void> {
  const promises = [...known.values()];
  known.clear();
  const failures: unknown[] = [];
  for (const promise of promises) {
    // Whoever asked for what could not be made has the error.
    const made = await promise.catch(() => undefined);
    await made?.dispose().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}
