/** The baseline that only rounds: whole weight range per row, percentile start of activations, nothing learned. */
import { openSampleCache, samplesIn, type Samples, type SampleStore } from '../../execution/sample-store.js';
import type { AdapterSetConfig } from '../../formats/adapter-set.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { chainsOf, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { adapterLayout } from '../quept/adapters.js';
import type { Adapters } from '../../execution/quantized-model.js';
import { openPlainPart } from '../../execution/part.js';
import { PAPER_TEXT, PAPER_VIT } from '../quept/options.js';
import { entering, passPart } from '../../execution/part-by-part.js';
import { observe } from '../../execution/observe.js';
import { startActivations } from '../quept/start.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { batchesOf } from '../../execution/batches.js';

/** @param inputs preprocessed samples whose activations give the ranges, [samples, …] */
export async function roundToNearest(
  programs: Programs,
  checkpoint: Checkpoint,
  inputs: Float32Array,
  samples: number,
  bits: readonly number[],
): Promise<Adapters> {
  const { model } = checkpoint;
  const { embeddingBits, headBits, percentiles } = PAPER_VIT;
  const batch = Math.min(PAPER_VIT.batch, samples);
  const groups = [{ bits, rank: 0, gain: 1 }];
  const { signal } = new AbortController();
  const cache = await openSampleCache(Infinity);
  const side = new Map<string, Samples>();
  const run = async (part: Part, source: Samples, into?: SampleStore) => {
    const plain = await openPlainPart(programs, part, await checkpoint.read(part));
    const x = await passPart(programs, part, plain, source, into, cache, batch, { signal, side });
    plain.dispose();
    return x;
  };

  const tensors: NamedTensors = new Map();
  for (const chain of chainsOf(model)) {
    let x = await run(chain.stem, entering(chain, samplesIn(inputs, samples), side));
    for (const part of chain.blocks) {
      const listing = checkpoint.listing(part);
      const parameters = await checkpoint.read(part);
      const layout = adapterLayout(listing, groups, true);
      const batches = batchesOf(part, x, side, samples, batch);
      const observed = await observe(programs, part, layout.quantizers, parameters, batches, batch);
      const start = startActivations(listing, layout, parameters, observed, { percentiles }, false);
      for (const [name, tensor] of start) tensors.set(part.prefix + name, tensor);
      x = await run(part, x, x);
    }
    if (chain.name !== undefined) side.set(chain.name, x);
  }
  return {
    config: {
      mode: 'weight-activation',
      layers: {},
      bit_groups: groups,
      embedding_bits: embeddingBits,
      head_bits: headBits,
    },
    tensors,
  };
}

/** The same with weights alone: nothing to observe. @param layers as in an adapter set; their group sizes are used */
export const roundWeights = (bits: readonly number[], layers: AdapterSetConfig['layers']): Adapters => ({
  config: {
    mode: 'weight-only',
    layers,
    bit_groups: [{ bits, rank: 0, gain: 1 }],
    embedding_bits: PAPER_TEXT.embeddingBits,
    head_bits: PAPER_TEXT.headBits,
  },
  tensors: new Map(),
});

/** Weights and activations of a language model: activations per token, the whole range of everything. */
export const roundTokens = (
  bits: readonly number[],
  layers: AdapterSetConfig['layers'],
  { rotation, kv_bits }: Pick<AdapterSetConfig, 'rotation' | 'kv_bits'>,
): Adapters => ({
  config: {
    ...roundWeights(bits, layers).config,
    mode: 'weight-activation',
    ...(rotation && { rotation }),
    ...(kv_bits !== undefined && { kv_bits }),
  },
  tensors: new Map(),
});
