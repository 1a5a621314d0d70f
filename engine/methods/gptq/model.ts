/** GPTQ of a whole model (Frantar et al. 2023), block by block: the baseline that corrects its rounding errors. */
import {
  type ModelInputs,
  type SampleCache,
  type Samples,
  type SampleStore,
  type Sources,
} from '../../execution/sample-store.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import type { LinearEntry, PartListing } from '../../models/listing.js';
import { blocksOf, chainsOf, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { disposeAll, openPlainPart } from '../../execution/part.js';
import { entering, passPart, plainParts, type OpenPart } from '../../execution/part-by-part.js';
import { factorHessian } from './factor.js';
import { inputHessian } from './hessian.js';
import { toFloats, type IntegerWeight } from '../../quantized/weight.js';
import { roundCorrecting } from './weight.js';
import type { WeightFiles } from './weight-files.js';

/** Tokens that run at once. */
const BATCH_TOKENS = 2048;

export interface GptqHooks {
  readonly signal: AbortSignal;
  /** @param done 0 to 1 */
  readonly status: (done: number) => void;
  readonly note: (line: string) => void;
}

export interface GptqGrid {
  readonly bits: number;
  /** Input columns that share a scale, -1 for whole rows. */
  readonly groupSize: number;
}

/**
 * Quantizes the weights of all blocks with what `inputs`, the calibration set, shows of their inputs. Every block reads what
 * the quantized blocks before it make of the set; within a block, layers that read the same input share a Hessian, and see
 * the layers before them quantized. Embedding, head, norms and biases stay as they are.
 * @param files takes the quantized weights, so that memory holds those of one block
 * @returns opens the parts of the quantized model, as a checkpoint builds them for texts of any length
 */
export async function quantizeModel(
  programs: Programs,
  checkpoint: Checkpoint,
  inputs: ModelInputs,
  grid: GptqGrid,
  cache: SampleCache,
  files: WeightFiles,
  { signal, status, note }: GptqHooks,
): Promise<(built: Checkpoint) => OpenPart> {
  const { model } = checkpoint;
  const open = plainParts(programs, checkpoint);
  const blocks = blocksOf(model);
  const tokens = Math.max(...blocks.map((part) => part.inputShape(1)[0]!));
  const batch = Math.max(1, Math.min(inputs.samples, Math.floor(BATCH_TOKENS / tokens)));
  /** What the quantized towers yield, and what else feeds side ports. */
  const side = new Map(inputs.side);
  const towers: SampleStore[] = [];
  let store: SampleStore | undefined;
  const advance = async (part: Part, source: Samples, opened: ReturnType<OpenPart>) => {
    const runnable = await opened;
    store = await passPart(programs, part, runnable, source, store, cache, batch, {
      signal,
      side,
    }).finally(() => runnable.dispose());
  };
  try {
    for (const chain of chainsOf(model)) {
      store = undefined;
      await advance(chain.stem, entering(chain, inputs, side), open(chain.stem));
      for (const part of chain.blocks) {
        const parameters = await checkpoint.read(part);
        const index = blocks.indexOf(part);
        const quantized = await quantizeBlock(
          programs,
          part,
          checkpoint.listing(part),
          parameters,
          store!,
          side,
          batch,
          grid,
          {
            signal,
            note,
            status: (done) => status((index + done) / blocks.length),
          },
        );
        await files.write(part, quantized);
        if (index + 1 < blocks.length)
          await advance(part, store!, openPlainPart(programs, part, withWeights(parameters, quantized)));
      }
      if (chain.name === undefined) continue;
      side.set(chain.name, store!);
      towers.push(store!);
    }
  } finally {
    for (const each of [...towers, store]) each?.release();
  }
  return (built) => async (part) => {
    const parameters = await built.read(part);
    return openPlainPart(
      programs,
      part,
      files.has(part) ? withWeights(parameters, await files.read(part)) : parameters,
    );
  };
}

/** The quantized weights of a block, by the layer's local name. @param source what the block reads */
async function quantizeBlock(
  programs: Programs,
  part: Part,
  listing: PartListing,
  parameters: ReadonlyMap<string, HostTensor>,
  source: SampleStore,
  side: Sources,
  batch: number,
  grid: GptqGrid,
  { signal, status, note }: GptqHooks,
): Promise<Map<string, IntegerWeight>> {
  const { runtime } = programs;
  const place = ({ data, shape }: HostTensor) => runtime.place(runtime.tensor(data, shape));
  const placed: Record<string, Awaited<ReturnType<typeof place>>> = {};
  const quantized = new Map<string, IntegerWeight>();
  try {
    for (const [name, tensor] of parameters) placed[name] = await place(tensor);
    const groups = byInput(listing.linears);
    for (const [done, group] of groups.entries()) {
      const [first] = group;
      const hessian = await inputHessian(programs, part, first, placed, source, side, batch, {
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
        placed[key]!.dispose();
        placed[key] = await place({ data: toFloats(weight), shape: weight.shape });
      }
    }
  } finally {
    disposeAll(placed);
  }
  return quantized;
}

/** Layers that read the same input, in the order they run. */
function byInput(linears: readonly LinearEntry[]): (readonly [LinearEntry, ...LinearEntry[]])[] {
  const groups = new Map<string, [LinearEntry, ...LinearEntry[]]>();
  for (const linear of linears) {
    const known = groups.get(linear.input);
    if (known) known.push(linear);
    else groups.set(linear.input, [linear]);
  }
  return [...groups.values()];
}

const withWeights = (
  parameters: ReadonlyMap<string, HostTensor>,
  weights: ReadonlyMap<string, IntegerWeight>,
): Map<string, HostTensor> =>
  new Map([
    ...parameters,
    ...[...weights].map(
      ([name, weight]) => [`${name}.weight`, { data: toFloats(weight), shape: weight.shape }] as const,
    ),
  ]);
