import { CancellationTokenSource, ResponseError, type MessageConnection } from 'vscode-jsonrpc/node';
import {
  ErrorCode,
  type ParamsOf,
  type RequestMethod,
  type ResultOf,
} from '../../engine/protocol/protocol.js';
import { EngineError } from './error.js';

/** Asks an engine, whose answer is awaited however long it takes. Rejects with `EngineError`. */
export async function send<M extends RequestMethod>(
  connection: MessageConnection,
  method: M,
  params: ParamsOf<M>,
  signal?: AbortSignal,
): Promise<ResultOf<M>> {
  const cancellation = new CancellationTokenSource();
  const cancel = () => cancellation.cancel();
  if (signal?.aborted) throw new EngineError('Cancelled.', ErrorCode.requestCancelled);
  signal?.addEventListener('abort', cancel);
  try {
    return await connection.sendRequest<ResultOf<M>>(method, params, cancellation.token);
  } catch (error) {
    if (error instanceof ResponseError && !isConnectionLost(error))
      throw new EngineError(error.message, error.code);
    throw new EngineError('The engine ended before it could answer.');
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancellation.dispose();
  }
}

/** Codes by which `vscode-jsonrpc` rejects what was pending when a connection closed. */
const isConnectionLost = ({ code }: ResponseError<unknown>) => code === -32097 || code === -32099;
