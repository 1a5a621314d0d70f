/** A typed event without an editor: data models fire them, trees and the status item listen. */
export interface Disposable {
  dispose(): void;
}

/** Subscribes a listener until the result is disposed. */
export type Event<T> = (listener: (value: T) => void) => Disposable;

export interface Emitter<T> {
  readonly event: Event<T>;
  fire(value: T): void;
}

export function createEmitter<T>(): Emitter<T> {
  const listeners = new Set<(value: T) => void>();
  return {
    event: (listener) => {
      // The same function may be subscribed twice; each subscription is its own.
      const own = (value: T) => listener(value);
      listeners.add(own);
      return { dispose: () => listeners.delete(own) };
    },
    fire: (value) => {
      for (const listener of [...listeners]) listener(value);
    },
  };
}
