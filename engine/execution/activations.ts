/** How activations are quantized on their way into layers and products (docs/METHOD.md, section 3). */
import type { Value } from '../graph/ir.js';
import { fakeQuantizeActivation, fakeQuantizeCache, fakeQuantizeTokens } from '../graph/quantizers.js';
import type { Part } from '../models/model.js';
import type { ActivationForm } from './source.js';

/** Keys and values as a running model keeps them for later tokens, at one bit-width whatever the rest has. */
export interface Cache {
  readonly bits: number;
  /** The operands that are kept. */
  readonly operands: readonly string[];
  /** Channels that share a grid. */
  readonly size: number;
}

/** The paper's and QuaRot's (docs/METHOD.md, section 3). */
const CACHE_GROUP = 128;

/** The cache of a part at so many bits; undefined where it keeps none, or in floating point (more than 8 bits). */
export function cacheOf({ roles }: Part, bits: number): Cache | undefined {
  if (!roles?.attention || bits > 8) return undefined;
  const { size, keys, values } = roles.attention;
  return { bits, operands: [keys, values], size: size % CACHE_GROUP === 0 ? CACHE_GROUP : size };
}

/** Integers of a grid are limited to [lower, upper], scalars that a caller fills. */
interface Limits {
  readonly lower: Value;
  readonly upper: Value;
}

/** What the scalars of a quantizer are at a bit-width, and the scale of a grid. */
export function limitsOf(
  form: ActivationForm,
  bits: number,
): { readonly lower: number; readonly upper: number; readonly scale: number | undefined } {
  const top = 2 ** (bits - 1) - 1;
  if (form === 'token') return { lower: -top, upper: top, scale: undefined };
  return { lower: -form.zero, upper: 2 ** bits - 1 - form.zero, scale: form.scale };
}

export interface ActivationQuantizers {
  /** The learned grid of a layer's input or an operand, where it has one. */
  readonly grid: (name: string) => (Limits & { readonly scale: Value }) | undefined;
  /** Of inputs of layers that have none: they are quantized per token, or stay as they are where this is absent. */
  readonly tokens?: Limits | undefined;
  readonly cache?: Cache | undefined;
}

/** @param x the input of the layer `name`, [rows, features] */
export function quantizeInput(name: string, x: Value, { grid, tokens }: ActivationQuantizers): Value {
  const own = grid(name);
  if (own) return fakeQuantizeActivation(x, own.scale, own.lower, own.upper);
  return tokens ? fakeQuantizeTokens(x, tokens.lower, tokens.upper) : x;
}

/** @param x the operand `name`, [rows, channels] */
export function quantizeOperand(name: string, x: Value, { grid, cache }: ActivationQuantizers): Value {
  if (cache?.operands.includes(name))
    return fakeQuantizeCache(x, cache.size, x.graph.scalar(2 ** cache.bits - 1));
  const own = grid(name);
  return own ? fakeQuantizeActivation(x, own.scale, own.lower, own.upper) : x;
}
