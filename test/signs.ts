/**
 * A toy method of weights alone: at 1 bit the signs of each row around its mean, whose statistics it keeps; at 2.5 bits, an
 * average, two bits in groups of columns with a scale and a zero point each.
 */
import { UserError } from '../engine/errors.js';
import { roundedCodes } from '../engine/execution/rounded.js';
import type { QuantizedSource } from '../engine/execution/source.js';
import type { SetConfig } from '../engine/formats/set-config.js';
import { setLayers } from '../engine/methods/layers.js';
import type { CommonSettings, Method } from '../engine/methods/method.js';
import type { Checkpoint, HostTensor } from '../engine/models/checkpoint.js';
import { blocksOf } from '../engine/models/model.js';
import type { WeightForm } from '../engine/quantized/form.js';
import type { BinaryWeight } from '../engine/quantized/weight.js';

const OFFERED = [2.5, 1];
/** Two bits, and 16 + 2 of scale and zero point for 36 columns. */
const GROUP = 36;
const STATISTICS = ['mean', 'scale'] as const;

/** A layer by its full name: what it is in its block, and its unquantized weight [out, in]. */
async function layerOf(
  { model, listing, read }: Pick<Checkpoint, 'model' | 'listing' | 'read'>,
  name: string,
) {
  const part = blocksOf(model).find(({ prefix }) => name.startsWith(prefix))!;
  const layer = listing(part).linears.find((linear) => part.prefix + linear.name === name)!;
  return { layer, weight: (await read(part)).get(`${layer.name}.weight`)! };
}

/** The mean of each row [out], and the mean distance from it [out]. */
function statisticsOf({ data, shape: [out = 0, columns = 0] }: HostTensor) {
  const rows = Array.from({ length: out }, (_, row) => data.subarray(row * columns, (row + 1) * columns));
  const mean = Float32Array.from(rows, (row) => row.reduce((sum, x) => sum + x, 0) / columns);
  const scale = Float32Array.from(
    rows,
    (row, i) => row.reduce((sum, x) => sum + Math.abs(x - mean[i]!), 0) / columns,
  );
  return { mean, scale };
}

function formOf({ layers }: SetConfig, name: string, bits: number): WeightForm {
  const { in: columns, out } = layers[name]!;
  return bits === 1
    ? { kind: 'binary', in: columns, out, groupSize: -1, classes: 1, second: 0 }
    : { kind: 'grid', in: columns, out, bits: 2, groupSize: GROUP };
}

export const signs: Method<object, CommonSettings> = {
  name: 'signs',
  words: { title: 'Signs', description: 'keeps the signs of weights' },
  options: {},
  recipes: ['default'],
  modes: () => ['weight-only'],
  settings: (_outline, { mode = 'weight-only', bits = OFFERED, seed = 0 }) => {
    if (mode !== 'weight-only') throw new UserError('Signs are of weights alone; leave --mode out.');
    const other = bits.find((b) => !OFFERED.includes(b));
    if (other !== undefined) throw new UserError(`Signs have 2.5 bits and 1, not ${other}.`);
    return { mode, offered: [...bits].sort((a, b) => b - a), samples: 0, batch: 1, seed };
  },
  cost: () => ({
    work: { flops: 0, elements: 0, operators: 0 },
    looked: 0,
    activations: 0,
    tensors: 0,
    stored: 0,
  }),
  facts: () => [],
  calibrate: async ({ checkpoint, hooks }, { offered }) => {
    const layers = setLayers(checkpoint, offered, (bits) => (bits === 1 ? -1 : GROUP));
    const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
    for (const [i, name] of Object.keys(layers).entries()) {
      hooks.status({ done: i / Object.keys(layers).length, phase: `layer ${i + 1}` });
      const found = statisticsOf((await layerOf(checkpoint, name)).weight);
      for (const what of STATISTICS)
        tensors.set(`${name}.${what}`, { shape: [found[what].length], data: found[what] });
    }
    return { embedding_bits: 16, head_bits: 16, transforms: [], layers, method: {}, tensors };
  },
  tensors: ({ layers }) =>
    new Map(
      Object.entries(layers).flatMap(([name, { out }]) =>
        STATISTICS.map((what) => [`${name}.${what}`, { shape: [out] }] as const),
      ),
    ),
  parts: ({ offered }) => [{ bits: offered, facts: [] }],
  form: formOf,
  open: (programs, checkpoint, config, tensors): QuantizedSource => ({
    offered: [...config.offered].sort((a, b) => a - b),
    checkpoint,
    cache: undefined,
    fixedBits: () => undefined,
    form: (name, bits) => formOf(config, name, bits),
    weight: async (name, bits) => {
      const { layer, weight } = await layerOf(checkpoint, name);
      if (bits !== 1) return roundedCodes(programs, layer, weight.data, 2, GROUP);
      const kept = await tensors.floats(`${name}.`);
      const [mean, scale] = STATISTICS.map((what) => kept.get(what)!.data) as [Float32Array, Float32Array];
      return {
        kind: 'binary',
        shape: [layer.out, layer.in],
        signs: Uint8Array.from(weight.data, (x, i) => Number(x >= mean[Math.floor(i / layer.in)]!)),
        classes: 1,
        classOf: new Uint8Array(layer.out * layer.in),
        groupSize: -1,
        ...{ mean, scale },
      } satisfies BinaryWeight;
    },
    activation: () => Promise.resolve(undefined),
  }),
};
