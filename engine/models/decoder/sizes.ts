/** The sizes of decoders, as their configurations have them. */
import type { ModelConfig } from '../config.js';
import type { BuildOptions } from '../family.js';
import { contextStretch } from '../rope.js';

export interface DecoderSizes {
  /** Of the stream that runs through all blocks. */
  readonly features: number;
  readonly depth: number;
  readonly vocabulary: number;
  /** Positions that the configuration names. */
  readonly positions: number;
  /** The longest sequence that the model knows positions for: more than these where they are stretched dynamically. */
  readonly context: number;
  /** Of a sample, where nobody says otherwise. */
  readonly tokens: number;
}

export interface HeadSizes {
  /** Of queries. */
  readonly heads: number;
  /** Of keys and values. */
  readonly keyHeads: number;
  /** Channels of one. */
  readonly headSize: number;
}

/** Far above any real model's; below these, numbers of elements are exact and the list of blocks is short. */
export const MAX_FEATURES = 1 << 20;
const MAX_DEPTH = 1 << 12;
const MAX_HEADS = 1 << 14;
const MAX_HEAD_SIZE = 1 << 12;
/** The mask of longer samples would be a constant of more than 256 MiB. */
const MAX_TOKENS = 1 << 13;
const DEFAULT_TOKENS = 2048;

/** What each size is called; the first of several that a configuration has counts. */
export interface SizeKeys {
  readonly features: readonly string[];
  readonly depth: readonly string[];
  readonly heads: readonly string[];
  readonly context: readonly string[];
}

export const USUAL_KEYS: SizeKeys = {
  features: ['hidden_size'],
  depth: ['num_hidden_layers'],
  heads: ['num_attention_heads'],
  context: ['max_position_embeddings'],
};

const keyIn = (config: ModelConfig, keys: readonly string[]): string =>
  keys.find((key) => config.has(key)) ?? keys[0]!;

/** What a family's configurations have where their keys are missing. */
export interface SizeDefaults {
  readonly features: number;
  readonly depth: number;
  readonly heads: number;
  readonly vocabulary: number;
  readonly context: number;
}

export function readSizes(
  config: ModelConfig,
  defaults: SizeDefaults,
  { tokens }: BuildOptions,
  keys = USUAL_KEYS,
): DecoderSizes {
  const contextKey = keyIn(config, keys.context);
  const positions = config.size(contextKey, defaults.context);
  const context = Math.floor(positions * contextStretch(config));
  const longest = Math.min(context, MAX_TOKENS);
  const length = tokens ?? Math.min(longest, DEFAULT_TOKENS);
  if (!Number.isInteger(length) || length < 1 || length > longest)
    config.fail(contextKey, `is ${positions}; samples may have 1 to ${longest} tokens, not ${length}`);
  return {
    features: config.size(keyIn(config, keys.features), defaults.features, MAX_FEATURES),
    depth: config.size(keyIn(config, keys.depth), defaults.depth, MAX_DEPTH),
    vocabulary: config.size('vocab_size', defaults.vocabulary),
    positions,
    context,
    tokens: length,
  };
}

/** What a family's heads are where their keys are missing. */
export interface HeadDefaults {
  readonly heads: number;
  /** Default as many as heads. */
  readonly keyHeads?: number;
  /** Default the features over the heads. */
  readonly headSize?: number;
}

/** Heads of an even number of channels. */
export function readHeads(
  config: ModelConfig,
  features: number,
  defaults: HeadDefaults,
  keys: Pick<SizeKeys, 'heads'> = USUAL_KEYS,
): HeadSizes {
  const headsKey = keyIn(config, keys.heads);
  const heads = config.size(headsKey, defaults.heads, MAX_HEADS);
  const keyHeads = config.optionalSize('num_key_value_heads', defaults.keyHeads, MAX_HEADS) ?? heads;
  if (heads % keyHeads !== 0)
    config.fail('num_key_value_heads', `must divide ${headsKey} (${heads}), found ${keyHeads}`);
  const ownSize = config.optionalSize('head_dim', defaults.headSize, MAX_HEAD_SIZE);
  if (ownSize === undefined && features % heads !== 0)
    config.fail(headsKey, `must divide hidden_size (${features}), found ${heads}`);
  const headSize = ownSize ?? features / heads;
  if (headSize % 2 !== 0 || headSize > MAX_HEAD_SIZE)
    config.fail(
      ownSize === undefined ? headsKey : 'head_dim',
      `makes heads of ${headSize} channels; their number must be even and at most ${MAX_HEAD_SIZE}`,
    );
  return { heads, keyHeads, headSize };
}
