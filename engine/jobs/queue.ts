/**
 * The order of an engine's jobs, one of which runs at a time. A pure step from what has happened to what is to be done:
 * it knows no process, file or clock.
 */

export interface Queue {
  /** In the order in which they will run. */
  readonly waiting: readonly string[];
  /** The one whose process runs, until what it left has been settled. */
  readonly running: string | undefined;
  /** Asked to stop, and not settled yet. */
  readonly cancelling: ReadonlySet<string>;
  readonly closing: boolean;
}

export type QueueEvent =
  | { readonly type: 'added'; readonly id: string }
  | { readonly type: 'cancelled'; readonly id: string }
  /** It has been settled after its process, or without one. @property goesOn it is to run again, before all others */
  | { readonly type: 'settled'; readonly id: string; readonly goesOn: boolean }
  | { readonly type: 'closed' };

export type QueueEffect =
  /** Start its process. */
  | { readonly type: 'run'; readonly id: string }
  /** Ask its process to stop. */
  | { readonly type: 'stop'; readonly id: string }
  /** End its process at once. */
  | { readonly type: 'kill'; readonly id: string }
  /** Settle it: it will not run. */
  | { readonly type: 'drop'; readonly id: string };

export const EMPTY_QUEUE: Queue = {
  waiting: [],
  running: undefined,
  cancelling: new Set(),
  closing: false,
};

export interface QueueStep {
  readonly queue: Queue;
  readonly effects: readonly QueueEffect[];
}

export function stepQueue(queue: Queue, event: QueueEvent): QueueStep {
  switch (event.type) {
    case 'added':
      return runNext({ ...queue, waiting: [...queue.waiting, event.id] });
    case 'cancelled':
      return cancel(queue, event.id);
    case 'settled':
      return settle(queue, event.id, event.goesOn);
    case 'closed':
      return {
        queue: { ...queue, waiting: [], closing: true },
        effects: [
          ...queue.waiting.map((id) => ({ type: 'drop', id }) as const),
          ...(queue.running === undefined ? [] : [{ type: 'kill', id: queue.running } as const]),
        ],
      };
  }
}

function cancel(queue: Queue, id: string): QueueStep {
  const cancelling = new Set([...queue.cancelling, id]);
  if (queue.waiting.includes(id))
    return {
      queue: { ...queue, cancelling, waiting: queue.waiting.filter((other) => other !== id) },
      effects: [{ type: 'drop', id }],
    };
  if (queue.running !== id) return { queue, effects: [] };
  return { queue: { ...queue, cancelling }, effects: [{ type: 'stop', id }] };
}

function settle(queue: Queue, id: string, goesOn: boolean): QueueStep {
  const running = queue.running === id ? undefined : queue.running;
  // It was asked to stop after what it left had been looked at.
  if (goesOn && (queue.closing || queue.cancelling.has(id))) {
    const next = runNext({ ...queue, running });
    return { queue: next.queue, effects: [{ type: 'drop', id }, ...next.effects] };
  }
  const cancelling = new Set([...queue.cancelling].filter((other) => other !== id));
  const waiting = goesOn ? [id, ...queue.waiting] : queue.waiting;
  return runNext({ ...queue, running, cancelling, waiting });
}

function runNext(queue: Queue): QueueStep {
  const [next, ...waiting] = queue.waiting;
  if (next === undefined || queue.running !== undefined || queue.closing) return { queue, effects: [] };
  return { queue: { ...queue, waiting, running: next }, effects: [{ type: 'run', id: next }] };
}
