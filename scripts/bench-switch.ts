/**
 * How long a switch of bit-widths takes: of one layer, of all layers of a model, and beside that opening the model anew.
 * Adapters are random: times do not depend on what was learned.
 * Usage: npm run bench:switch [-- --runs 21] [--device cpu] [--json]
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { table } from '../engine/cli/format.js';
import { createRandom } from '../engine/data/random.js';
import { sizeOf, type Shape } from '../engine/graph/ir.js';
import { withDevice } from '../engine/runtime/with-device.js';
import { scaleRows } from '../engine/graph/quantizers.js';
import { adapterLayout } from '../engine/methods/quept/adapters.js';
import { layerNames } from '../engine/execution/model.js';
import { openElasticModel, widthsOf } from '../engine/execution/quantized-model.js';
import { openElasticPart } from '../engine/execution/quantized-part.js';
import { bitGroups, groupSizesOf } from '../engine/methods/quept/options.js';
import { blockSource, elasticSource, type ElasticSettings } from '../engine/methods/quept/source.js';
import type { NamedTensors } from '../engine/execution/tensors.js';
import { openCheckpoint, type Checkpoint } from '../engine/models/checkpoint.js';
import { listPart, type PartListing } from '../engine/models/listing.js';
import type { Part } from '../engine/models/model.js';
import { chooseDevice } from '../engine/runtime/devices.js';
import type { Programs } from '../engine/runtime/programs.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    device: { type: 'string', default: 'cpu' },
    runs: { type: 'string', default: '21' },
  },
});

const runs = Number(flags.runs);
const device = await chooseDevice(flags.device as 'auto');
const random = createRandom(0, 'switch');
const samples = fileURLToPath(new URL('../samples', import.meta.url));
const groups = bitGroups([[7, 8], [5, 6], [3, 4], [2]], [16, 32, 48, 64]);
/** Bytes for weights with adapters added, as a session has them. */
const MEMORY = 1 << 30;
/** Within one bit group, and from one to another. */
const WIDTHS = [8, 4, 7, 2, 6, 3, 5];

const normals = (shape: Shape, spread: number) => ({
  shape,
  data: Float32Array.from({ length: sizeOf(shape) }, () => spread * random.normal()),
});
const constant = (shape: Shape, value: number) => ({
  shape,
  data: new Float32Array(sizeOf(shape)).fill(value),
});

/** Adapters of a part as a calibration would make them, by local name. */
function adaptersOf(listing: PartListing, activations: boolean) {
  const sizes = groupSizesOf({ groups, groupSize: activations ? -1 : 128 });
  const layout = adapterLayout(listing, groups, activations, true, sizes);
  const tensors: NamedTensors = new Map();
  for (const layer of layout.layers) {
    tensors.set(`${layer.name}.lora_A`, normals([layout.rank, layer.in], 0.02));
    tensors.set(`${layer.name}.lora_B`, normals([layer.out, layout.rank], 0.02));
    for (const [g, { bits }] of groups.entries())
      for (const b of bits)
        for (const side of ['upper', 'lower'])
          tensors.set(`${layer.name}.clip_${side}.${b}`, constant([scaleRows(layer, sizes[g]!), 1], 3));
  }
  for (const name of layout.quantizers)
    for (const b of groups.flatMap((g) => g.bits)) {
      tensors.set(`${name}.act_scale.${b}`, constant([1], 6 / (2 ** b - 1)));
      tensors.set(`${name}.act_zero.${b}`, constant([1], 2 ** (b - 1)));
    }
  return tensors;
}

const settingsOf = (isActivationQuantized: boolean): ElasticSettings => ({
  groups,
  groupSizeOf: (_layer, bits) =>
    groupSizesOf({ groups, groupSize: isActivationQuantized ? -1 : 128 })[
      groups.findIndex((group) => group.bits.includes(bits))
    ]!,
  hasHalves: () => false,
  isActivationQuantized,
  embeddingBits: 8,
  headBits: 8,
  cacheBits: undefined,
});

const isClassifier = ({ model }: Checkpoint) => model.task === 'image-classification';

/** Learned tensors of every block, by its prefix. */
const randomTensors = (checkpoint: Checkpoint): ReadonlyMap<string, NamedTensors> =>
  new Map(
    checkpoint.model.blocks.map((part) => [
      part.prefix,
      adaptersOf(checkpoint.listing(part), isClassifier(checkpoint)),
    ]),
  );

const sourceOf = (programs: Programs, checkpoint: Checkpoint, tensors: ReadonlyMap<string, NamedTensors>) =>
  elasticSource(programs, checkpoint, settingsOf(isClassifier(checkpoint)), ({ prefix }) =>
    Promise.resolve(tensors.get(prefix)!),
  );

const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Switches through all bit-widths, so that everything is compiled; then times each of the runs. */
async function timed(switchTo: (bits: number) => Promise<unknown>): Promise<number[]> {
  for (const bits of WIDTHS) await switchTo(bits);
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await milliseconds(() => switchTo(WIDTHS[i % WIDTHS.length]!)));
  return times;
}

/** One layer of a model of width 2048, out of 2048 inputs. */
async function largeLayer() {
  const part: Part = {
    prefix: '',
    kind: 'large',
    inputShape: (n) => [n, 2048],
    outputShape: (n) => [n, 2048],
    forward: (b, x) => b.linear('layer', x, 2048, { bias: false }),
  };
  const listing = listPart(part);
  const tensors = adaptersOf(listing, false);
  return withDevice({ device }, async (programs) => {
    const parameters = new Map([['layer.weight', normals([2048, 2048], 0.02)]]);
    const source = blockSource(parameters, settingsOf(false), part, tensors);
    const layer = await openElasticPart(programs, part, listing, source, { left: MEMORY });
    const times = await timed((bits) => layer.use(bits));
    layer.dispose();
    return { name: 'LLaMA-style layer, 2048 × 2048', layer: median(times), fastest: Math.min(...times) };
  });
}

async function sample(name: string) {
  const folder = join(samples, name);
  return withDevice({ device }, async (programs) => {
    const checkpoint = await openCheckpoint(folder);
    const tensors = randomTensors(checkpoint);
    const model = await openElasticModel(programs, sourceOf(programs, checkpoint, tensors), MEMORY);
    const layers = layerNames(checkpoint);
    const last = layers.length - 1;
    await model.use(8);
    const one = await timed((bits) =>
      model.use(
        widthsOf(
          layers,
          layers.map((_, i) => (i === last ? bits : 8)),
        ),
      ),
    );
    const all = await timed((bits) => model.use(bits));
    model.dispose();
    await checkpoint.close();
    const opening: number[] = [];
    for (let i = 0; i < 5; i++)
      opening.push(
        await withDevice({ device }, (own) =>
          milliseconds(async () => {
            const again = await openCheckpoint(folder);
            const fresh = await openElasticModel(own, sourceOf(own, again, tensors), MEMORY);
            await fresh.use(4);
            fresh.dispose();
            await again.close();
          }),
        ),
      );
    return {
      name,
      layers: layers.length,
      layer: median(one),
      fastest: Math.min(...one),
      whole: median(all),
      opening: median(opening),
    };
  });
}

interface Row {
  readonly name: string;
  readonly layers?: number;
  readonly layer: number;
  /** Of one layer: what a quiet machine would come to. */
  readonly fastest: number;
  readonly whole?: number;
  readonly opening?: number;
}
const rows: Row[] = [await sample('vit-fashion'), await sample('llama-speeches'), await largeLayer()];
const show = (x: number | undefined) => (x === undefined ? '–' : x.toFixed(2));
process.stdout.write(
  flags.json
    ? `${JSON.stringify({ device, runs, rows })}\n`
    : `Switching on ${device}, milliseconds, medians of ${runs} (openings: of 5).\n\n${table(
        ['model', 'one layer', 'its fastest', 'all layers', 'opening anew', 'all / opening'],
        rows.map((r) => [
          r.layers === undefined ? r.name : `${r.name} (${r.layers} layers)`,
          ...[r.layer, r.fastest, r.whole, r.opening].map(show),
          r.whole === undefined ? '–' : `${((100 * r.whole) / r.opening!).toFixed(0)} %`,
        ]),
      )}\n`,
);
