/** What a QuEPT calibration has done so far: finished blocks, and the state of the one in work after its last epoch. */
import type { NamedTensors } from '../../execution/tensors.js';
import { blockFile, EPOCH_FILE, type ProgressFiles } from '../progress.js';
import type { Snapshot } from './reconstruct.js';
import type { StopState } from './stops.js';

export interface FinishedBlock {
  readonly tensors: NamedTensors;
  /** What of it training changed, as it was at the start (`startedTensors`). */
  readonly started: NamedTensors;
  /** Mean loss of each bit group over the first and last epoch. */
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** Begins the names of `started` tensors in a block's file. */
const START = 'start/';

export interface SavedProgress {
  block(index: number): Promise<FinishedBlock | undefined>;
  finishBlock(index: number, block: FinishedBlock): Promise<void>;
  /** The latest snapshot of the given block, where it is the one in work. */
  epoch(index: number): Promise<Snapshot | undefined>;
  saveEpoch(index: number, snapshot: Snapshot): Promise<void>;
}

export function blockProgress(files: ProgressFiles): SavedProgress {
  return {
    block: async (index) => {
      const saved = await files.load(blockFile(index));
      if (!saved) return undefined;
      const tensors: NamedTensors = new Map();
      const started: NamedTensors = new Map();
      for (const [name, tensor] of saved.tensors)
        if (name.startsWith(START)) started.set(name.slice(START.length), tensor);
        else tensors.set(name, tensor);
      return { tensors, started, first: saved.notes.first!, last: saved.notes.last! };
    },
    finishBlock: async (index, { tensors, started, first, last }) => {
      const all = new Map([
        ...tensors,
        ...[...started].map(([name, tensor]) => [START + name, tensor] as const),
      ]);
      await files.save(blockFile(index), all, { first, last });
      await files.remove(EPOCH_FILE);
    },
    epoch: async (index) => {
      const saved = await files.load(EPOCH_FILE);
      if (saved?.notes.at?.[0] !== index) return undefined;
      const [state, best] = [new Map<string, Float32Array>(), new Map<string, Float32Array>()];
      for (const [name, { data }] of saved.tensors)
        if (name.startsWith(BEST)) best.set(name.slice(BEST.length), data);
        else state.set(name, data);
      const { at, first, last, stop } = saved.notes;
      return {
        ...{ epoch: at[1]!, state, first: first!, last: last! },
        ...(stop && { stop: stopState(stop, best) }),
      };
    },
    saveEpoch: (index, { epoch, state, first, last, stop }) => {
      const best = [...(stop?.best?.state ?? [])].map(([name, data]) => [BEST + name, data] as const);
      const tensors = new Map(
        [...state, ...best].map(([name, data]) => [name, { shape: [data.length], data }]),
      );
      const notes = { at: [index, epoch], first, last };
      return files.save(EPOCH_FILE, tensors, stop ? { ...notes, stop: stopNumbers(stop) } : notes);
    },
  };
}

/** Begins the names of the best values so far in an epoch's file. */
const BEST = 'best/';

const stopNumbers = ({ stopped, waited, best }: StopState): number[] => [
  stopped,
  waited,
  ...(best ? [best.score] : []),
];

const stopState = (
  [stopped, waited, score]: readonly number[],
  state: ReadonlyMap<string, Float32Array>,
): StopState => ({
  stopped: stopped!,
  waited: waited!,
  best: score === undefined ? undefined : { score, state: new Map(state) },
});
