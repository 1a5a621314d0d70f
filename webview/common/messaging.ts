/**
 * The page's end of the channel to its host. The page says `ready` before anything is posted to it; a request carries a
 * number, and its answer the same one.
 */
import type { Answer } from './protocol.js';

interface Editor {
  postMessage(message: unknown): void;
  setState(state: unknown): void;
}

declare function acquireVsCodeApi(): Editor;

/** A request without its number. */
export type Ask<R> = R extends { readonly id: number } ? Omit<R, 'id'> : never;

export interface Channel<FromPage, Results> {
  /** Sends a request. Rejects with an Error whose message is for the reader. */
  ask<R extends Ask<FromPage> & { readonly type: keyof Results }>(request: R): Promise<Results[R['type']]>;
  /** Sends what is not answered. */
  tell(message: FromPage): void;
  /** Keeps what the host needs to bring the page back after a reload. */
  keep(state: unknown): void;
}

/**
 * @typeParam ToPage   messages besides answers
 * @typeParam FromPage messages besides `ready`
 * @typeParam Results  what each request is answered by, by its `type`
 */
export function openChannel<ToPage, FromPage, Results>(
  receive: (message: ToPage) => void,
): Channel<FromPage, Results> {
  const editor = acquireVsCodeApi();
  const exchange = openExchange((message) => editor.postMessage(message));
  window.addEventListener('message', ({ data }: MessageEvent<ToPage | Answer>) => {
    if (!exchange.settle(data)) receive(data as ToPage);
  });
  editor.postMessage({ type: 'ready' });
  return {
    ask: (request) => exchange.ask(request) as never,
    tell: (message) => editor.postMessage(message),
    keep: (state) => editor.setState(state),
  };
}

export interface Exchange {
  readonly ask: (request: object) => Promise<unknown>;
  /** Whether `message` is an answer; one that nobody waits for is dropped. */
  readonly settle: (message: unknown) => boolean;
}

/** Numbers requests and hands answers to whoever waits for them. */
export function openExchange(post: (message: unknown) => void): Exchange {
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  let next = 1;
  return {
    ask: (request) => {
      const id = next++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        post({ ...request, id });
      });
    },
    settle: (message) => {
      if (!isAnswer(message)) return false;
      const waiter = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error === undefined) waiter?.resolve(message.result);
      else waiter?.reject(new Error(message.error));
      return true;
    },
  };
}

const isAnswer = (message: unknown): message is Answer =>
  typeof message === 'object' && message !== null && (message as Partial<Answer>).type === 'answer';
