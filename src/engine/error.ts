import { ErrorCode } from '../../engine/protocol/protocol.js';

/** A request that failed. `code` is one of `ErrorCode`, undefined where the engine could not be asked. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    message: string,
    readonly code?: number,
  ) {
    super(message);
  }
  get isCancelled(): boolean {
    return this.code === ErrorCode.requestCancelled;
  }
}
