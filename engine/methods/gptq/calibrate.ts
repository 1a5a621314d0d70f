/** GPTQ of a whole model (Frantar et al. 2023), block by block, once for every bit-width. */
import { disposeAll, placeAll, replace } from '../../execution/part.js';
import { plainParts } from '../../execution/part-by-part.js';
import type { Samples, Sources } from '../../execution/sample-store.js';
import type { HostTensor } from '../../models/checkpoint.js';
import { byInput, type LinearEntry } from '../../models/listing.js';
import { blocksOf, type Part } from '../../models/model.js';
import type { GridForm } from '../../quantized/form.js';
import { toFloats, type QuantizedWeight } from '../../quantized/weight.js';
import type { Programs } from '../../runtime/programs.js';
import { gridForms, groupSizeAt, keptWeight, readKept, writtenTensors } from '../weight-set.js';
import { setLayers } from '../layers.js';
import type { Artefact, CalibrationContext } from '../method.js';
import { blockFile, type Kept, type KeptTensor } from '../progress.js';
import { walkBlocks } from '../walk.js';
import { factorHessian } from '../../backends/factor.js';
import { inputHessian } from './hessian.js';
import type { GptqSettings } from './settings.js';
import { roundCorrecting } from '../../backends/gptq.js';

interface Hooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status: (done: number) => void;
  readonly note: (line: string) => void;
}

/**
 * Quantizes the weights of all blocks at every bit-width, with what the calibration set shows of their inputs. Every block
 * reads what the quantized blocks before it make of the set; within a block, layers that read the same input share a
 * Hessian, and see the layers before them quantized. Embedding, head, norms and biases stay as they are.
 */
export async function calibrate(context: CalibrationContext, settings: GptqSettings): Promise<Artefact> {
  const { checkpoint, progress, hooks } = context;
  const { model } = checkpoint;
  const { offered } = settings;
  const blocks = blocksOf(model).length;
  for (const [i, bits] of offered.entries())
    await quantizeModel(context, settings, bits, {
      signal: hooks.signal,
      note: (line) => hooks.note(line),
      status: (done, block) =>
        hooks.status({
          done: (i + done) / offered.length,
          phase: `${bits} bits, block ${block + 1}/${blocks}`,
          place: i * blocks + block,
        }),
    });
  const layers = setLayers(checkpoint, offered, (bits) => groupSizeAt(settings, bits));
  return {
    embedding_bits: 16,
    head_bits: 16,
    transforms: [],
    layers,
    method: { group_size: settings.groupSize },
    tensors: writtenTensors(checkpoint, offered, gridForms({ layers }), progress, (bits, index, name) => ({
      file: fileOf(bits, index),
      name,
    })),
  };
}

const fileOf = (bits: number, index: number) => blockFile(index, `${bits}-bits-`);

async function quantizeModel(
  context: CalibrationContext,
  settings: GptqSettings,
  bits: number,
  { status, ...hooks }: Omit<Hooks, 'status'> & { readonly status: (done: number, block: number) => void },
): Promise<void> {
  const { programs, checkpoint, set, progress } = context;
  const blocks = blocksOf(checkpoint.model).length;
  const grid = { bits, groupSize: groupSizeAt(settings, bits) };
  const stems = [plainParts(programs, checkpoint)];
  await walkBlocks(context, set!.inputs, stems, async (block) => {
    const { index, part, listing, parameters, streams, batch } = block;
    status(index / blocks, index);
    const { linears } = listing;
    const { x: source, side } = streams[0]!;
    const saved = await progress.load(fileOf(bits, index));
    const quantized = saved
      ? await readBlock(saved, linears, grid)
      : await quantizeBlock(programs, { part, linears, parameters, source, side, batch }, grid, {
          ...hooks,
          status: (done) => status((index + done) / blocks, index),
        });
    if (!saved) await progress.save(fileOf(bits, index), keptBlock(quantized), {});
    return [withWeights(parameters, quantized)];
  });
}

type Grid = Pick<GridForm, 'bits' | 'groupSize'>;

async function readBlock(
  saved: Kept,
  linears: readonly LinearEntry[],
  grid: Grid,
): Promise<Map<string, QuantizedWeight>> {
  const found = new Map<string, QuantizedWeight>();
  for (const { name, in: columns, out } of linears)
    found.set(name, await readKept(saved, name, { kind: 'grid', in: columns, out, ...grid }));
  return found;
}

interface BlockToQuantize {
  readonly part: Part;
  readonly linears: readonly LinearEntry[];
  readonly parameters: ReadonlyMap<string, HostTensor>;
  /** What the block reads, and what feeds its side ports. */
  readonly source: Samples;
  readonly side: Sources;
  /** Samples that run at once. */
  readonly batch: number;
}

/** The quantized weights of a block, by the layer's local name. */
async function quantizeBlock(
  programs: Programs,
  { part, linears, parameters, source, side, batch }: BlockToQuantize,
  grid: Grid,
  { signal, status, note }: Hooks,
): Promise<Map<string, QuantizedWeight>> {
  const placed = await placeAll(programs, parameters);
  const quantized = new Map<string, QuantizedWeight>();
  try {
    const groups = byInput(linears);
    for (const [done, group] of groups.entries()) {
      const [first] = group;
      const inputs = { part, parameters: placed, source, side, batch };
      const hessian = await inputHessian(programs, inputs, first, {
        signal,
        status: (share) => status((done + share) / groups.length),
      });
      const label = part.prefix + first.name;
      const factor = await factorHessian(programs, hessian, first.in, label, { signal, note });
      const isDead = (column: number) => hessian[column * first.in + column] === 0;
      for (const { name } of group) {
        const key = `${name}.weight`;
        const weight = await roundCorrecting(programs, parameters.get(key)!, factor, isDead, grid, signal);
        quantized.set(name, weight);
        await replace(programs, placed, key, { data: toFloats(weight), shape: weight.shape });
      }
    }
  } finally {
    disposeAll(placed);
  }
  return quantized;
}

const withWeights = (
  parameters: ReadonlyMap<string, HostTensor>,
  weights: ReadonlyMap<string, QuantizedWeight>,
): Map<string, HostTensor> =>
  new Map([
    ...parameters,
    ...[...weights].map(
      ([name, weight]) => [`${name}.weight`, { data: toFloats(weight), shape: weight.shape }] as const,
    ),
  ]);

const keptBlock = (weights: ReadonlyMap<string, QuantizedWeight>): Map<string, KeptTensor> =>
  new Map([...weights].flatMap(([name, weight]) => keptWeight(name, weight)));
