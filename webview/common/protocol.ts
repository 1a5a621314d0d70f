/** What the pages' protocols share. Types alone, so that either side can import it. */

/** The page listens; nothing is posted to it before. */
export interface Ready {
  readonly type: 'ready';
}

/** The host's answer to the request of the same number: a result, or one line that says why there is none. */
export interface Answer {
  readonly type: 'answer';
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}
