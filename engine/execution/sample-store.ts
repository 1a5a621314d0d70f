/** Float32 samples of one size, such as the activations of a calibration set: in memory up to a limit, beyond it in a file. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { removeStaleTemporaries } from '../formats/atomic.js';
import { fileError } from '../formats/paths.js';

/** Samples that can be read: float32 numbers, or int64 ids of tokens. */
export interface SampleSource<T extends Float32Array | BigInt64Array = Float32Array> {
  readonly samples: number;
  /** Elements of a sample. */
  readonly size: number;
  /** Copies the samples at `indices`, one after another, into `into`. */
  read(indices: readonly number[], into: T): void;
}

/** What a part reads: pixels, activations, or ids. */
export type Samples = SampleSource | SampleSource<BigInt64Array>;

/** Samples by name, such as what feeds side ports: the same ones in the same order. */
export type Sources = ReadonlyMap<string, Samples>;

/** What a model reads: what its stem does, and what else it has inputs for. */
export type ModelInputs = Samples & { readonly side?: Sources };

/** The samples of all that a model reads, from one on. */
export const samplesFrom = (inputs: ModelInputs, first: number): ModelInputs =>
  picked(inputs, inputs.samples - first, (i) => i + first);

/** The samples of all that a model reads, so many times, one round after another. */
export const samplesAgain = (inputs: ModelInputs, times: number): ModelInputs =>
  picked(inputs, inputs.samples * times, (i) => i % inputs.samples);

/** So many samples of all that a model reads. @param place where the i-th is */
function picked({ side, ...own }: ModelInputs, samples: number, place: (i: number) => number): ModelInputs {
  const of = <T extends Samples>(source: T): T => ({
    ...source,
    samples,
    read: (indices: readonly number[], into: never) => source.read(indices.map(place), into),
  });
  return {
    ...of(own),
    ...(side && { side: new Map([...side].map(([name, source]) => [name, of(source)])) }),
  };
}

/** For parts and models that have no side ports. */
export const NO_SOURCES: Sources = new Map();

export interface SampleStore extends SampleSource {
  /** Replaces the samples at `indices` by what lies one after another in `from`. */
  write(indices: readonly number[], from: Float32Array): void;
  /** Fills `into` with the elements from `start` on, samples lying one after another. */
  readSpan(start: number, into: Float32Array): void;
  /** Replaces the elements from `start` on. */
  writeSpan(start: number, from: Float32Array): void;
  /** Gives memory and disk back. Harmless when repeated. */
  release(): void;
}

/** Stores that share one limit of memory. */
export interface SampleCache {
  /** A new store; what it holds is not defined before it is written. Throws UserError where the disk is too small for it. */
  store(samples: number, size: number): SampleStore;
  /** Bytes that stores now hold. */
  readonly held: { readonly memory: number; readonly disk: number };
  /** Releases every store. */
  close(): void;
}

/** `samples` samples that lie one after another in an array. */
export const samplesIn = <T extends Float32Array | BigInt64Array>(
  data: T,
  samples: number,
): SampleSource<T> => {
  const size = data.length / samples;
  return {
    samples,
    size,
    read: (indices, into) =>
      forRuns(indices, size, (at, from, to) => into.set(data.subarray(at, at + to - from) as never, from)),
  };
};

/** The numbers of all samples. */
export const everySample = ({ samples }: Pick<SampleSource, 'samples'>): number[] => [
  ...Array(samples).keys(),
];

const BYTES = Float32Array.BYTES_PER_ELEMENT;
/** Elements of one array in memory: a store of any size is made of arrays that can be allocated. */
const PIECE = 1 << 24;
/** What one call reads or writes at most; some systems take no more than 2 GiB. */
const MAX_TRANSFER = 1 << 30;
/** Memory for activations where nobody says how much: so much at least (docs/METHOD.md, section 11). */
const LEAST_DEFAULT = 256 << 20;

/** How much memory a cache may take where nobody says: half of what is free, at least 256 MiB. */
export const defaultCacheMemory = (free = freeMemory()): number =>
  Math.max(LEAST_DEFAULT, Math.floor(free / 2));

/** Bytes left on this machine, or to this process where it has a limit of its own. */
function freeMemory(): number {
  const limit = process.constrainedMemory();
  return Math.min(freemem(), limit > 0 ? limit - process.memoryUsage.rss() : Infinity);
}

/** Where temporary files of this user lie; `openSampleCache` removes what killed processes left there. It may not exist yet. */
export const scratchFolder = (): string =>
  join(tmpdir(), `elastic-precision-${process.getuid?.() ?? 'cache'}`);

/**
 * Opens a cache whose stores keep at most `limit` bytes in memory together. Files are made only for what does not fit:
 * hidden temporaries in `folder`, or, where there is none or it cannot be written, in one of the system's folder for
 * temporary files. What a killed process left in either is removed first.
 */
export async function openSampleCache(limit: number, folder?: string): Promise<SampleCache> {
  const folders = [...(folder === undefined ? [] : [folder]), scratchFolder()];
  for (const each of folders) await removeStaleTemporaries(each);
  const open = new Set<SampleStore>();
  const held = { memory: 0, disk: 0 };
  return {
    held,
    store: (samples, size) => {
      const elements = samples * size;
      const inMemory = Math.min(elements, Math.max(0, Math.floor((limit - held.memory) / BYTES)));
      const file = inMemory < elements ? createFile(folders, (elements - inMemory) * BYTES) : undefined;
      const own = { memory: inMemory * BYTES, disk: (elements - inMemory) * BYTES };
      held.memory += own.memory;
      held.disk += own.disk;
      const spans = openSpans(inMemory, file);
      const store: SampleStore = {
        samples,
        size,
        readSpan: spans.read,
        writeSpan: spans.write,
        read: (indices, into) =>
          forRuns(indices, size, (at, from, to) => spans.read(at, into.subarray(from, to))),
        write: (indices, data) =>
          forRuns(indices, size, (at, from, to) => spans.write(at, data.subarray(from, to))),
        release: () => {
          if (!open.delete(store)) return;
          spans.release();
          held.memory -= own.memory;
          held.disk -= own.disk;
        },
      };
      open.add(store);
      return store;
    },
    close: () => {
      for (const store of open) store.release();
    },
  };
}

/** Consecutive samples are moved at once: calls `move` with where each run begins and with its part of the buffer. */
function forRuns(
  indices: readonly number[],
  size: number,
  move: (at: number, from: number, to: number) => void,
): void {
  for (let first = 0; first < indices.length;) {
    let end = first + 1;
    while (end < indices.length && indices[end] === indices[end - 1]! + 1) end++;
    move(indices[first]! * size, first * size, end * size);
    first = end;
  }
}

interface Spans {
  read(this: void, at: number, into: Float32Array): void;
  write(this: void, at: number, from: Float32Array): void;
  release(): void;
}

/** Elements by position: the first `inMemory` in arrays, the others in a file. */
function openSpans(inMemory: number, file: CacheFile | undefined): Spans {
  let pieces = Array.from(
    { length: Math.ceil(inMemory / PIECE) },
    (_, i) => new Float32Array(Math.min(PIECE, inMemory - i * PIECE)),
  );
  /** Splits the span at `at` into what lies in each array and in the file. */
  const visit = (
    at: number,
    span: Float32Array,
    inArray: (stored: Float32Array, part: Float32Array) => void,
    inFile: (file: CacheFile, position: number, part: Float32Array) => void,
  ) => {
    for (let done = 0; done < span.length;) {
      const position = at + done;
      const offset = position % PIECE;
      const piece = position < inMemory ? pieces[(position - offset) / PIECE]! : undefined;
      const length = Math.min(span.length - done, piece ? piece.length - offset : Infinity);
      const part = span.subarray(done, done + length);
      if (piece) inArray(piece.subarray(offset, offset + length), part);
      else inFile(file!, (position - inMemory) * BYTES, part);
      done += length;
    }
  };
  return {
    read: (at, into) =>
      visit(
        at,
        into,
        (stored, part) => part.set(stored),
        (disk, position, part) => disk.read(position, part),
      ),
    write: (at, from) =>
      visit(
        at,
        from,
        (stored, part) => stored.set(part),
        (disk, position, part) => disk.write(position, part),
      ),
    release: () => {
      pieces = [];
      file?.close();
    },
  };
}

/** Parts are moved whole; positions are in bytes. */
interface CacheFile {
  read(position: number, into: Float32Array): void;
  write(position: number, from: Float32Array): void;
  close(): void;
}

type Transfer = (file: number, view: Uint8Array, offset: number, length: number, position: number) => number;

/** A file of `bytes` in the first of the folders that takes it. */
function createFile(folders: readonly string[], bytes: number): CacheFile {
  const name = `.activations.${process.pid}-${randomBytes(4).toString('hex')}.partial`;
  let failure: unknown;
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
      const { bavail, bsize } = statfsSync(folder);
      if (bavail * bsize < bytes)
        throw new UserError(
          `${folder} has ${gigabytes(bavail * bsize)} GB left for ${gigabytes(bytes)} GB of activations; free some space, let more of them stay in memory (--cache-memory), or take fewer samples.`,
        );
      return openCacheFile(path, bytes);
    } catch (error) {
      failure ??= fileError(error, 'write', path);
    }
  }
  throw failure;
}

function openCacheFile(path: string, bytes: number): CacheFile {
  const handle = openSync(path, 'wx+', 0o600);
  const close = () => {
    closeSync(handle);
    rmSync(path, { force: true });
  };
  try {
    ftruncateSync(handle, bytes);
  } catch (error) {
    close();
    throw error;
  }
  const mover = (action: 'read' | 'write', call: Transfer) => {
    return (position: number, part: Float32Array) => {
      const view = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      try {
        for (let done = 0; done < view.length;) {
          const length = Math.min(view.length - done, MAX_TRANSFER);
          const moved = call(handle, view, done, length, position + done);
          if (moved === 0) throw new UserError(`${path} ends too early; did another program change it?`);
          done += moved;
        }
      } catch (error) {
        throw fileError(error, action, path);
      }
    };
  };
  return { close, read: mover('read', readSync), write: mover('write', writeSync) };
}

const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);
