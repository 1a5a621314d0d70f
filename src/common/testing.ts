/** A connection for unit tests of data models: answers from a table, notifications by hand. */
import type {
  NotificationMethod,
  Notifications,
  ParamsOf,
  RequestMethod,
  ResultOf,
} from '../../engine/protocol/protocol.js';
import type { Connection } from './connection.js';
import { createEmitter } from './event.js';

type Answers = { [M in RequestMethod]?: (params: ParamsOf<M>) => ResultOf<M> | Promise<ResultOf<M>> };

export interface FakeConnection extends Connection {
  /** The requests so far, in order. */
  readonly requests: { readonly method: RequestMethod; readonly params: unknown }[];
  notify<N extends NotificationMethod>(method: N, params: Notifications[N]): void;
}

export function fakeConnection(answers: Answers): FakeConnection {
  const requests: FakeConnection['requests'] = [];
  const notifications = createEmitter<{ method: NotificationMethod; params: unknown }>();
  return {
    requests,
    request: async (method, params) => {
      requests.push({ method, params });
      const answer = answers[method];
      if (answer === undefined) throw new Error(`No answer to ${method}.`);
      return answer(params);
    },
    onNotification: (method, listener) =>
      notifications.event((sent) => {
        if (sent.method === method) listener(sent.params as Parameters<typeof listener>[0]);
      }),
    notify: (method, params) => notifications.fire({ method, params }),
  };
}
