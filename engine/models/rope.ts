/**
 * Rotary position embedding (Su et al. 2021, section 3.4) in Hugging Face's convention: of a head's `size` channels, i and
 * i + size/2 make a pair, which is turned by position · frequency.
 */
import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { ModelConfig } from './config.js';
import { lazyConstant } from './constants.js';

export interface Rope {
  /** Radians a position for each pair of channels, [size / 2]. */
  readonly frequencies: readonly number[];
  /** Factor on what was turned. */
  readonly gain: number;
}

/** Rewrites the plain frequencies θ^(−2i/size). */
type Scaling = (frequencies: readonly number[], config: ModelConfig, plain: PlainRope) => Rope;
interface PlainRope {
  readonly size: number;
  readonly theta: number;
  readonly context: number;
}

/** By `rope_type`. */
const scalings: Readonly<Record<string, Scaling>> = {
  default: (frequencies) => ({ frequencies, gain: 1 }),
  linear: (frequencies, config) => {
    const factor = config.positive('factor');
    return { frequencies: frequencies.map((f) => f / factor), gain: 1 };
  },
  // Changes frequencies beyond the context alone, and no sample is longer than that.
  dynamic: (frequencies) => ({ frequencies, gain: 1 }),
  // Long waves are stretched by the factor, short ones kept, those between blended (Llama 3.1).
  llama3: (frequencies, config) => {
    const [factor, low, high] = ['factor', 'low_freq_factor', 'high_freq_factor'].map((key) =>
      config.positive(key),
    ) as [number, number, number];
    if (low >= high) config.fail('high_freq_factor', `must be above low_freq_factor (${low}), found ${high}`);
    const context = config.size('original_max_position_embeddings');
    const blend = (f: number) => {
      const turns = (context * f) / (2 * Math.PI);
      const kept = Math.min(Math.max((turns - low) / (high - low), 0), 1);
      return (1 - kept) * (f / factor) + kept * f;
    };
    return { frequencies: frequencies.map(blend), gain: 1 };
  },
  // "NTK by parts" with attention scaling (Peng et al. 2023, sections 3.2 and 3.4).
  yarn: (frequencies, config, { size, theta, context }) => {
    for (const key of ['mscale', 'mscale_all_dim', 'truncate'])
      if (config.has(key)) config.fail(key, 'is not supported for YaRN');
    const factor = config.positive('factor');
    const original = config.size('original_max_position_embeddings', context);
    /** The pair that makes so many turns over the original context. */
    const pairOf = (turns: number) =>
      (size * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
    const first = Math.max(Math.floor(pairOf(config.positive('beta_fast', 32))), 0);
    const last = Math.min(Math.ceil(pairOf(config.positive('beta_slow', 1))), size - 1);
    const blend = (f: number, i: number) => {
      const stretched = Math.min(Math.max((i - first) / (last === first ? 1e-3 : last - first), 0), 1);
      return stretched * (f / factor) + (1 - stretched) * f;
    };
    return {
      frequencies: frequencies.map(blend),
      gain: config.positive('attention_factor', factor > 1 ? 0.1 * Math.log(factor) + 1 : 1),
    };
  },
};

/**
 * Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both.
 * @param size channels of a head, even
 * @param context `max_position_embeddings`
 */
export function readRope(config: ModelConfig, size: number, context: number): Rope {
  const parameters = config.section('rope_parameters');
  const scaling = parameters ?? config.section('rope_scaling');
  for (const place of [config, scaling])
    if (place?.has('partial_rotary_factor') && place.positive('partial_rotary_factor') !== 1)
      place.fail('partial_rotary_factor', 'must be 1: heads that are turned in part are not supported');
  for (const layers of ['full_attention', 'sliding_attention'])
    if (parameters?.has(layers))
      parameters.fail(layers, 'is present: positions that differ between layers are not supported');
  const source = parameters?.has('rope_theta') ? parameters : config;
  const theta = source.positive('rope_theta', 10000);
  if (theta <= 1) source.fail('rope_theta', `must be above 1, found ${theta}`);
  const plain = Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size));
  const key = scaling?.has('rope_type') === false && scaling.has('type') ? 'type' : 'rope_type';
  const type = scaling?.oneOf(key, Object.keys(scalings), parameters ? 'default' : undefined) ?? 'default';
  return scalings[type]!(plain, scaling ?? config, { size, theta, context });
}

/** What turns the heads of every token by its position: [batch, tokens, heads, size] → same. */
export function rotation({ frequencies, gain }: Rope, tokens: number): (x: Value) => Value {
  const pairs = frequencies.length;
  const table = (f: (angle: number) => number) =>
    lazyConstant([tokens, 1, pairs], () =>
      Float32Array.from(
        { length: tokens * pairs },
        (_, i) => gain * f(Math.floor(i / pairs) * frequencies[i % pairs]!),
      ),
    );
  const [cosines, sines] = [table(Math.cos), table(Math.sin)];
  return (x) => {
    const [cos, sin] = [cosines(x.graph), sines(x.graph)];
    const [a, b] = op.split(x, [pairs, pairs], -1) as [Value, Value];
    return op.concat([op.sub(op.mul(a, cos), op.mul(b, sin)), op.add(op.mul(b, cos), op.mul(a, sin))], -1);
  };
}
