/** What the data models need of the engine's client: no process, no editor. */
import type {
  NotificationMethod,
  Notifications,
  ParamsOf,
  RequestMethod,
  ResultOf,
} from '../../engine/protocol/protocol.js';
import type { Disposable } from './event.js';

export interface Connection {
  /** Starts the engine where it does not run. Rejects with one line for people; `signal` cancels it. */
  request<M extends RequestMethod>(
    method: M,
    params: ParamsOf<M>,
    signal?: AbortSignal,
  ): Promise<ResultOf<M>>;
  onNotification<N extends NotificationMethod>(
    method: N,
    listener: (params: Notifications[N]) => void,
  ): Disposable;
}
