/** Through a model block by block, in one stream of activations or several. */
import { openPlainPart, type RunnablePart } from '../execution/part.js';
import { entering, passPart, type OpenPart } from '../execution/part-by-part.js';
import type { PartStreams } from '../execution/sums.js';
import {
  NO_SOURCES,
  type ModelInputs,
  type Samples,
  type SampleStore,
  type Sources,
} from '../execution/sample-store.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { PartListing } from '../models/listing.js';
import { blocksOf, chainsOf, outputSize, type Chain, type Model, type Part } from '../models/model.js';
import type { CalibrationContext } from './method.js';
import { inPhase } from './phases.js';

/** Tokens that run at once (docs/METHOD.md, section 11). */
const BATCH_TOKENS = 2048;

export type Parameters = ReadonlyMap<string, HostTensor>;

/** What a walk needs of a calibration. */
export type WalkContext = Pick<CalibrationContext, 'programs' | 'checkpoint' | 'cache' | 'hooks'>;

/** How a stream goes on through a block: by other parameters, or in any way that opens it. */
export type Onward = Parameters | OpenPart;

/** A block, and what reaches it. */
export interface BlockAt extends PartStreams {
  /** Of every stream, where what the block yields may go, if it fits there: the store that it reads from. */
  readonly into: readonly (SampleStore | undefined)[];
  readonly index: number;
  readonly listing: PartListing;
  readonly parameters: Parameters;
}

/**
 * Visits every block in the order they run.
 * @param stems how each stream passes the stems, all of which begin with the inputs
 * @param visit returns how each stream goes on, or that it has put there what the block yields
 */
export async function walkBlocks(
  { programs, checkpoint, cache, hooks }: WalkContext,
  inputs: ModelInputs,
  stems: readonly OpenPart[],
  visit: (block: BlockAt) => Promise<readonly Onward[] | 'passed'>,
): Promise<void> {
  const { model, listing } = checkpoint;
  const { signal } = hooks;
  const blocks = blocksOf(model);
  const batch = batchOf(model, inputs.samples);
  const all = [...stems.keys()];
  const sides = all.map(() => new Map<string, Samples>(inputs.side ?? NO_SOURCES));
  const stores: SampleStore[] = [];
  const pass = async (
    part: Part,
    opened: RunnablePart,
    source: Samples,
    side: Sources,
    into?: SampleStore,
  ) => {
    const run = { part, runnable: opened, source, side, batch };
    return inPhase('forward', () => passPart(programs, run, into, cache, { signal })).finally(() =>
      opened.dispose(),
    );
  };
  const stemOf = async (chain: Chain, open: OpenPart, side: Sources) =>
    pass(chain.stem, await open(chain.stem), entering(chain, inputs, side), side);
  try {
    for (const chain of chainsOf(model)) {
      const streams: SampleStore[] = [];
      const at = stores.length;
      for (const [i, open] of stems.entries()) {
        streams.push(await stemOf(chain, open, sides[i]!));
        stores.push(streams[i]!);
      }
      for (const part of chain.blocks) {
        const index = blocks.indexOf(part);
        const parameters = await checkpoint.read(part);
        const next = await visit({
          ...{ index, part, parameters, batch },
          listing: listing(part),
          streams: streams.map((x, i) => ({ x, side: sides[i]! })),
          into: streams.map((x) => (x.size === outputSize(part) ? x : undefined)),
        });
        if (index + 1 === blocks.length) break;
        if (next === 'passed') continue;
        for (const i of all) {
          const onward = next[i]!;
          const opened =
            typeof onward === 'function' ? await onward(part) : await openPlainPart(programs, part, onward);
          streams[i] = await pass(part, opened, streams[i]!, sides[i]!, streams[i]);
          stores[at + i] = streams[i];
        }
      }
      if (chain.name !== undefined) for (const i of all) sides[i]!.set(chain.name, streams[i]!);
    }
  } finally {
    for (const store of stores) store.release();
  }
}

/** Samples that run at once. */
export const batchOf = (model: Model, samples: number): number => samplesAtOnce(blocksOf(model), samples);

/** Those of some parts. */
export function samplesAtOnce(parts: readonly Part[], samples: number): number {
  const tokens = Math.max(...parts.map((part) => part.inputShape(1)[0]!));
  return Math.max(1, Math.min(samples, Math.floor(BATCH_TOKENS / tokens)));
}
