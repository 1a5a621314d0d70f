/**
 * Rotary position embedding (Su et al. 2021, section 3.4): pairs of a head's channels are turned by position · frequency. In Hugging
 * Face's convention, of `size` channels i and i + size/2 make a pair; in the original one, 2i and 2i + 1.
 */
import type { Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { ModelConfig } from './config.js';
import { lazyConstant } from './constants.js';

export interface Waves {
  /** Radians a position for each pair of channels, [size / 2]. */
  readonly frequencies: readonly number[];
  /** Factor on what was turned. */
  readonly gain: number;
}

/** The first channels of a head are turned, two for each frequency; the others stay as they are. */
export interface Rope extends Waves {
  /** θ of the plain frequencies θ^(−2i/size), which these may have been rewritten from. */
  readonly theta: number;
  /** Whether neighbouring channels make a pair. */
  readonly neighbours?: boolean;
  /** What holds for all positions of samples of more than so many tokens. */
  readonly beyond?: { readonly tokens: number; readonly waves: (tokens: number) => Waves };
}

/** What a family's configurations mean where they say nothing, and by which keys they say it. */
export interface RopeOptions {
  /** Default 10000. */
  readonly theta?: number;
  /** θ at the top, the first that is there. Default `rope_theta`. */
  readonly thetaKeys?: readonly string[];
  /** The share of a head that is turned; absent in families that turn all of it. */
  readonly share?: number;
  /** Default `partial_rotary_factor`. */
  readonly shareKeys?: readonly string[];
  readonly neighbours?: boolean;
}

/** Rewrites the plain frequencies θ^(−2i/size). */
type Scaling = (
  frequencies: readonly number[],
  config: ModelConfig,
  plain: PlainRope,
) => Pick<Rope, 'frequencies' | 'gain' | 'beyond'>;
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
  // "NTK-aware": θ grows with samples that are longer than the context.
  dynamic: (frequencies, config, { size, theta, context }) => {
    const factor = config.positive('factor');
    const waves = (tokens: number) => {
      const grown = theta * ((factor * tokens) / context - (factor - 1)) ** (size / (size - 2));
      return { frequencies: frequencies.map((_, i) => grown ** ((-2 * i) / size)), gain: 1 };
    };
    return { frequencies, gain: 1, beyond: { tokens: context, waves } };
  },
  // LongRoPE (Ding et al. 2024): divisors for samples up to the original context, others for longer ones.
  longrope: (frequencies, config, { context, original }) => {
    const stretch = config.has('factor') ? config.positive('factor') : context / original;
    const usual = stretch > 1 ? Math.sqrt(1 + Math.log(stretch) / Math.log(original)) : 1;
    const gain = config.positive('attention_factor', usual);
    const dividedBy = (key: string) => {
      const divisors = config.positives(key, frequencies.length);
      return { frequencies: frequencies.map((f, i) => f / divisors[i]!), gain };
    };
    const long = dividedBy('long_factor');
    return { ...dividedBy('short_factor'), beyond: { tokens: original, waves: () => long } };
  },
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

/** What Phi-3 called LongRoPE first. */
const OLDER_NAMES: Readonly<Record<string, string>> = { su: 'longrope' };

/** How many times `max_position_embeddings` a model can be used for: a dynamic scaling goes beyond it. */
export function contextStretch(config: ModelConfig): number {
  const section = config.section('rope_scaling') ?? config.section('rope_parameters');
  return section && typeOf(section) === 'dynamic' ? Math.max(section.positive('factor'), 1) : 1;
}

/**
 * Reads `rope_scaling`, or else `rope_parameters`, with `rope_theta` in it or at the top, as transformers from version 5 on does.
 * What earlier versions read differently is noted.
 * @param size channels of a head, even
 * @param context `max_position_embeddings`
 */
export function readRope(config: ModelConfig, size: number, context: number, options?: RopeOptions): Rope {
  const parameters = config.section('rope_parameters');
  const scaling = config.section('rope_scaling');
  const section = scaling ?? parameters;
  for (const layers of LAYERS)
    if (section?.has(layers))
      section.fail(layers, 'is present: positions that differ between layers are not supported');
  noteVersions(config, scaling, parameters);
  return ropeOf(config, section, size, context, options);
}

/** By kind of layer, in families whose layers that slide have positions of their own. */
export const LAYERS = ['full_attention', 'sliding_attention'] as const;

/** The positions that a section of the configuration says, or the top where it says nothing. */
export function ropeOf(
  config: ModelConfig,
  section: ModelConfig | undefined,
  size: number,
  context: number,
  options: RopeOptions = {},
): Rope {
  const { thetaKeys = ['rope_theta'], neighbours = false } = options;
  const turned = turnedChannels(config, section, size, options);
  const source = section?.has('rope_theta') ? section : config;
  const key =
    source === section ? 'rope_theta' : (thetaKeys.find((each) => config.has(each)) ?? thetaKeys[0]!);
  const theta = source.positive(key, options.theta ?? 10000);
  if (theta <= 1) source.fail(key, `must be above 1, found ${theta}`);
  const plain = Array.from({ length: turned / 2 }, (_, i) => theta ** ((-2 * i) / turned));
  const type = section ? typeOf(section) : 'default';
  const stretched = ['llama3', 'yarn', 'longrope'].includes(type);
  const trained = config.has(ORIGINAL) ? config : section;
  const original = stretched ? trained!.size(ORIGINAL, context) : context;
  const waves = scalings[type]!(plain, section ?? config, { size: turned, theta, context, original });
  return { theta, ...waves, ...(neighbours && { neighbours }) };
}

function typeOf(section: ModelConfig): string {
  const key = section.has('rope_type') ? 'rope_type' : 'type';
  if (section.has(key) && Object.hasOwn(OLDER_NAMES, section.text(key)))
    return OLDER_NAMES[section.text(key)]!;
  return section.oneOf(key, Object.keys(scalings), 'default');
}

function turnedChannels(
  config: ModelConfig,
  section: ModelConfig | undefined,
  size: number,
  { share, shareKeys = ['partial_rotary_factor'] }: RopeOptions,
): number {
  const keys = ['partial_rotary_factor', ...shareKeys];
  const places = [section, config].flatMap((place) =>
    keys.flatMap((key) => (place?.has(key) ? [{ place, key }] : [])),
  );
  for (const { place, key } of places)
    if (share === undefined && place.positive(key) !== 1)
      place.fail(key, 'must be 1: heads that are turned in part are not supported');
  if (share === undefined) return size;
  const [first] = places;
  const turned = Math.floor(size * (first ? first.place.positive(first.key) : share));
  if (turned < 2 || turned % 2 !== 0 || turned > size)
    (first?.place ?? config).fail(
      first?.key ?? keys[0]!,
      `turns ${turned} of ${size} channels; their number must be even, from 2 to all`,
    );
  return turned;
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
export function rotation(rope: Rope, tokens: number): (x: Value) => Value {
  const { neighbours = false, beyond } = rope;
  const { frequencies, gain } = beyond && tokens > beyond.tokens ? beyond.waves(tokens) : rope;
  const pairs = frequencies.length;
  const table = (f: (angle: number) => number) =>
    lazyConstant([tokens, 1, pairs], () =>
      Float32Array.from(
        { length: tokens * pairs },
        (_, i) => gain * f(Math.floor(i / pairs) * frequencies[i % pairs]!),
      ),
    );
  const [cosines, sines] = [table(Math.cos), table(Math.sin)];
  const turn = (x: Value) => turnBy(x, cosines(x.graph), sines(x.graph), neighbours);
  return (x) => {
    const others = x.shape.at(-1)! - 2 * pairs;
    if (others === 0) return turn(x);
    const [first, rest] = op.split(x, [2 * pairs, others], -1) as [Value, Value];
    return op.concat([turn(first), rest], -1);
  };
}

/** Heads [batch, tokens, heads, size], all of them, by cosines and sines of their angles, [tokens, 1, size / 2] each. */
export function turnBy(x: Value, cos: Value, sin: Value, neighbours = false): Value {
  const pairs = cos.shape.at(-1)!;
  const [a, b] = neighbours ? ofNeighbours(x) : (op.split(x, [pairs, pairs], -1) as [Value, Value]);
  const turned = [op.sub(op.mul(a, cos), op.mul(b, sin)), op.add(op.mul(b, cos), op.mul(a, sin))];
  if (!neighbours) return op.concat(turned, -1);
  return op.reshape(
    op.concat(
      turned.map((y) => op.reshape(y, [...y.shape, 1])),
      -1,
    ),
    x.shape,
  );
}

/** Cosines and sines [size / 2] of the turns at a position, by the waves' gain. */
export const turnsAt = (
  { frequencies, gain }: Waves,
  position: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } => ({
  cos: Float32Array.from(frequencies, (f) => gain * Math.cos(position * f)),
  sin: Float32Array.from(frequencies, (f) => gain * Math.sin(position * f)),
});

/** The first and the second of each two neighbouring channels. */
function ofNeighbours(x: Value): readonly [Value, Value] {
  const shape = [...x.shape.slice(0, -1), x.shape.at(-1)! / 2];
  const [a, b] = op.split(op.reshape(x, [...shape, 2]), [1, 1], -1) as [Value, Value];
  return [op.reshape(a, shape), op.reshape(b, shape)];
}
