/**
 * Rotary position embedding (Su et al. 2021, section 3.4) in Hugging Face's convention: of a head's `size` channels, i and
 * i + size/2 make a pair, which is turned by position · frequency.
 */
import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { ModelConfig } from './config.js';
import { lazyConstant } from './constants.js';

export interface Rope {
  /** θ of the plain frequencies θ^(−2i/size), which these may have been rewritten from. */
  readonly theta: number;
  /** Radians a position for each pair of channels, [size / 2]. */
  readonly frequencies: readonly number[];
  /** Factor on what was turned. */
  readonly gain: number;
}

/** Rewrites the plain frequencies θ^(−2i/size). */
type Scaling = (frequencies: readonly number[], config: ModelConfig, plain: PlainRope) => Omit<Rope, 'theta'>;
interface PlainRope {
  readonly size: number;
  readonly theta: number;
  readonly context: number;
  /** Positions that the model was trained for before its context was stretched. */
  readonly original: number;
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
  llama3: (frequencies, config, { original }) => {
    const [factor, low, high] = ['factor', 'low_freq_factor', 'high_freq_factor'].map((key) =>
      config.positive(key),
    ) as [number, number, number];
    if (low >= high) config.fail('high_freq_factor', `must be above low_freq_factor (${low}), found ${high}`);
    const blend = (f: number) => {
      const turns = (original * f) / (2 * Math.PI);
      const kept = Math.min(Math.max((turns - low) / (high - low), 0), 1);
      return (1 - kept) * (f / factor) + kept * f;
    };
    return { frequencies: frequencies.map(blend), gain: 1 };
  },
  // "NTK by parts" with attention scaling (Peng et al. 2023, sections 3.2 and 3.4).
  yarn: (frequencies, config, { size, theta, context, original }) => {
    const stretch =
      config.mentions('factor') && !config.has('factor') ? context / original : config.positive('factor');
    /** The pair that makes so many turns over the original context. */
    const pairOf = (turns: number) =>
      (size * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
    const [fast, slow] = [pairOf(config.amount('beta_fast') ?? 32), pairOf(config.amount('beta_slow') ?? 1)];
    const isWhole = config.flag('truncate', true);
    const first = Math.max(isWhole ? Math.floor(fast) : fast, 0);
    const last = Math.min(isWhole ? Math.ceil(slow) : slow, size - 1);
    const blend = (f: number, i: number) => {
      const stretched = Math.min(Math.max((i - first) / (last === first ? 1e-3 : last - first), 0), 1);
      return stretched * (f / stretch) + (1 - stretched) * f;
    };
    const gainOf = (scale = 1) => (stretch > 1 ? 0.1 * scale * Math.log(stretch) + 1 : 1);
    const [scale, overall] = [config.amount('mscale'), config.amount('mscale_all_dim')];
    const usual = scale !== undefined && overall !== undefined ? gainOf(scale) / gainOf(overall) : gainOf();
    return { frequencies: frequencies.map(blend), gain: config.positive('attention_factor', usual) };
  },
};

/**
 * Reads `rope_scaling`, or else `rope_parameters`, with `rope_theta` in it or at the top, as transformers from version 5 on does.
 * What earlier versions read differently is noted.
 * @param size channels of a head, even
 * @param context `max_position_embeddings`
 */
export function readRope(config: ModelConfig, size: number, context: number): Rope {
  const parameters = config.section('rope_parameters');
  const scaling = config.section('rope_scaling');
  const section = scaling ?? parameters;
  for (const place of [config, section])
    if (place?.has('partial_rotary_factor') && place.positive('partial_rotary_factor') !== 1)
      place.fail('partial_rotary_factor', 'must be 1: heads that are turned in part are not supported');
  for (const layers of ['full_attention', 'sliding_attention'])
    if (section?.has(layers))
      section.fail(layers, 'is present: positions that differ between layers are not supported');
  noteVersions(config, scaling, parameters);
  const source = section?.has('rope_theta') ? section : config;
  const theta = source.positive('rope_theta', 10000);
  if (theta <= 1) source.fail('rope_theta', `must be above 1, found ${theta}`);
  const plain = Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size));
  const key = section?.has('rope_type') ? 'rope_type' : 'type';
  const type = section?.oneOf(key, Object.keys(scalings), 'default') ?? 'default';
  const stretched = ['llama3', 'yarn'].includes(type);
  const trained = config.has(ORIGINAL) ? config : section;
  const original = stretched ? trained!.size(ORIGINAL, context) : context;
  return { theta, ...scalings[type]!(plain, section ?? config, { size, theta, context, original }) };
}

const ORIGINAL = 'original_max_position_embeddings';

function noteVersions(
  config: ModelConfig,
  scaling: ModelConfig | undefined,
  parameters: ModelConfig | undefined,
): void {
  const section = scaling ?? parameters;
  if (!section) return;
  if (scaling && parameters && !scaling.equals(parameters))
    config.note('rope_parameters', 'is not read, since "rope_scaling" says otherwise and counts');
  const differs = (key: string) =>
    config.has(key) && section.has(key) && config.positive(key) !== section.positive(key);
  if (differs('rope_theta'))
    section.note('rope_theta', 'counts; transformers before version 5 takes the "rope_theta" at the top');
  if (differs(ORIGINAL))
    config.note(ORIGINAL, 'at the top counts; transformers before version 5 takes the one of the section');
  if (section.has('rope_type') && section.has('type') && section.text('rope_type') !== section.text('type'))
    section.note('rope_type', 'counts; transformers before version 5 takes "type"');
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
