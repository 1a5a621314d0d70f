/** Sessions: a model that is open, switched and asked. */
import type { DeviceChoice } from './devices.js';
import type { EvaluationRow } from './evaluations.js';

export interface OpenSessionParams {
  readonly model: string;
  readonly adapters: string;
  readonly device?: DeviceChoice;
}

export interface OpenSessionResult {
  readonly session: string;
  readonly seconds: number;
  /** What is read of the checkpoint otherwise than one may think, one line each. */
  readonly warnings: readonly string[];
}

export interface SessionParams {
  readonly session: string;
}

export interface UseParams extends SessionParams {
  /** Of each layer, in the order of `precision/describe`. */
  readonly bits: readonly number[];
}

export interface UseResult {
  /** Layers whose weights were computed again. */
  readonly changed: number;
  readonly seconds: number;
}

export interface PredictParams extends SessionParams {
  /** `picture` is a picture's file in base64; `tokens` how many to add to the text. */
  readonly input: { readonly picture: string } | { readonly text: string; readonly tokens?: number };
}

export interface PredictResult {
  readonly seconds: number;
  readonly plan: Prediction;
  readonly full: Prediction;
  /** Bytes that the session's process takes. */
  readonly memory: number;
}

/** The likeliest first. */
export type Prediction =
  | { readonly classes: readonly { readonly label: string; readonly probability: number }[] }
  | {
      readonly text: string;
      /** Tokens of it, and what they and reading the text before took. */
      readonly tokens: number;
      readonly seconds: number;
      readonly next: readonly { readonly token: string; readonly probability: number }[];
    };

export interface SessionEvaluateParams extends SessionParams {
  readonly data: string;
  readonly limit?: number;
}

export interface SessionEvaluateResult {
  /** At the present plan. */
  readonly row: EvaluationRow;
  /** In full precision, of the same samples. */
  readonly full: EvaluationRow;
  readonly seconds: number;
}

export interface SessionClosed extends SessionParams {
  /** One sentence. */
  readonly reason: string;
}

/** What a model has gone on with so far. */
export interface SessionText extends SessionParams {
  readonly of: 'plan' | 'full';
  readonly text: string;
}

export interface SessionProgress extends SessionParams {
  readonly done: number;
  readonly total: number;
}
