/** The engine's session of one model: opened at the first need, switched, asked and measured. Knows no editor. */
import { sameBits } from '../../engine/plans/bits.js';
import type { DeviceChoice, SessionEvaluateResult } from '../../engine/protocol/protocol.js';
import type { Tried, TryInput } from '../../webview/precision/protocol.js';
import type { Connection } from '../common/connection.js';
import type { Disposable } from '../common/event.js';

/** Tokens that a prompt is continued by. */
const TOKENS = 24;

export interface LiveSession extends Disposable {
  readonly id: () => string | undefined;
  /** The bit-widths in use. */
  readonly bits: () => readonly number[] | undefined;
  /** Resolves to what the engine warns of, at once and to nothing where the model is open. */
  open(): Promise<readonly string[] | undefined>;
  /** Switches the open model; resolves to what that took, or undefined where it was there. */
  use(bits: readonly number[]): Promise<{ readonly layers: number; readonly seconds: number } | undefined>;
  /** Asks the open model; resolves to undefined where it has answered this at these bit-widths. */
  predict(input: TryInput): Promise<Tried | undefined>;
  /** Measures the open model on the first `limit` samples. */
  evaluate(data: string, limit: number, signal: AbortSignal): Promise<SessionEvaluateResult>;
  /** The next `predict` is asked, whatever was. */
  forgetAnswer(): void;
  /** The session has ended in the engine. */
  forget(): void;
}

export interface LiveSessionOptions {
  readonly model: string;
  readonly adapters: string;
  readonly device: () => DeviceChoice;
}

/** @param opening hears how opening goes */
export function createLiveSession(
  connection: Connection,
  { model, adapters, device }: LiveSessionOptions,
  opening: (state: 'opening' | 'open' | 'closed') => void,
): LiveSession {
  let id: string | undefined;
  let used: readonly number[] | undefined;
  let answered: string | undefined;
  let disposed = false;

  const forget = () => {
    id = undefined;
    used = undefined;
    answered = undefined;
  };
  const close = () => {
    if (id !== undefined) connection.request('session/close', { session: id }).catch(() => undefined);
    forget();
  };
  return {
    id: () => id,
    bits: () => used,
    open: async () => {
      if (id !== undefined) return undefined;
      opening('opening');
      try {
        const opened = await connection.request('session/open', { model, adapters, device: device() });
        id = opened.session;
        if (disposed) {
          close();
          throw new Error('The plan was closed while its model was being opened.');
        }
        opening('open');
        return opened.warnings;
      } catch (error) {
        opening('closed');
        throw error;
      }
    },
    use: async (bits) => {
      if (used && sameBits(used, bits)) return undefined;
      const { changed, seconds } = await connection.request('session/use', { session: id!, bits });
      used = bits;
      return { layers: changed, seconds };
    },
    predict: async (input) => {
      const key = JSON.stringify([used, input]);
      if (answered === key) return undefined;
      const asked = 'text' in input ? { text: input.text, tokens: TOKENS } : input;
      const result = await connection.request('session/predict', { session: id!, input: asked });
      answered = key;
      return result;
    },
    evaluate: (data, limit, signal) =>
      connection.request('session/evaluate', { session: id!, data, limit }, signal),
    forgetAnswer: () => (answered = undefined),
    forget,
    dispose: () => {
      disposed = true;
      close();
    },
  };
}
