import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import { bfloat16ToFloat32, halfToFloat32 } from './floats.js';
import { expectObject, expectObjectAt, expectString, readJsonFile } from './json.js';
import { describeOther, describeWeights } from './other-formats.js';
import { fileError, isThere, resolveInside, show, sizeOfFile, statPath } from './paths.js';
import { DTYPE_BYTES, isFloat, parseSafetensorsHeader } from './safetensors-header.js';
import type { TensorInfo } from './safetensors-header.js';

export { writeSafetensors } from './safetensors-write.js';
export type { SafetensorsData, SafetensorsEntry, WrittenFile } from './safetensors-write.js';
export { isFloat, isKnownDtype } from './safetensors-header.js';
export type { SafetensorsDType, TensorInfo } from './safetensors-header.js';

/** Named tensors on disk. Nothing is read before it is asked for; reads may run at once. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Bytes of all tensors together. */
  readonly byteLength: number;
  /** A tensor of F64, F32, F16 or BF16 as float32, row-major. `UserError` if there is none of that name. */
  read(name: string): Promise<Float32Array>;
  /** Rows `start` to `end` (not included) of the first axis, as float32. */
  readRows(name: string, start: number, end: number): Promise<Float32Array>;
  /** A tensor of I64, I32, I16, I8, U8 or BOOL, widened to 64 bits. */
  readInt(name: string): Promise<BigInt64Array>;
  /** The stored bytes `begin` to `end` (not included) of a tensor; all of them if not given. */
  readBytes(name: string, begin?: number, end?: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Enough for a hundred thousand tensors: what is larger would take more memory than reading a header may. */
export const MAX_HEADER_BYTES = 16 << 20;
const MAX_INDEX_BYTES = 16 << 20;
const DECODE_BYTES = 4 * 1024 * 1024;
const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/**
 * Opens one safetensors file, an index of shards (`*.json`), or a folder that holds `model.safetensors` or
 * `model.safetensors.index.json`. Headers are read and checked in full; the tensors stay on the disk.
 * Throws `UserError` for anything that does not follow docs/FORMATS.md.
 */
export async function openSafetensors(path: string): Promise<TensorSource> {
  if ((await statPath(path)).isDirectory()) return openFolder(path);
  if (path.endsWith('.json')) return openIndex(path);
  const opened = await openFile(path);
  return createSource(basename(path), opened.tensors, opened.metadata, [opened]);
}

/**
 * Tensors of files that are not here, by their headers alone: their shapes are known, and reading one is a defect.
 * @param files name, header without its length, and bytes of the file
 */
export function outlineSafetensors(
  files: readonly { readonly name: string; readonly header: Uint8Array; readonly bytes: number }[],
): TensorSource {
  const read = files.map(({ name, header, bytes }) =>
    parseSafetensorsHeader(header, bytes - 8 - header.length, name),
  );
  const infos = read.flatMap(({ tensors }) => tensors);
  const absent = (): never => {
    throw new Error('The weights of an outline are not here.');
  };
  return {
    tensors: new Map(infos.map((info) => [info.name, info])),
    metadata: new Map(read.flatMap(({ metadata }) => [...metadata])),
    byteLength: infos.reduce((sum, info) => sum + info.byteLength, 0),
    ...{ read: absent, readRows: absent, readInt: absent, readBytes: absent },
    close: () => Promise.resolve(),
  };
}

async function openFolder(folder: string): Promise<TensorSource> {
  for (const name of [SINGLE, INDEX]) {
    const path = join(folder, name);
    // A link to nothing is there, and an error.
    if (await isThere(path)) return openSafetensors(path);
  }
  const other = await describeWeights(folder);
  throw new UserError(`${folder}: holds neither ${SINGLE} nor ${INDEX}${other ? `; ${other}` : ''}.`);
}

interface OpenedFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly tensors: readonly TensorInfo[];
  readonly metadata: ReadonlyMap<string, string>;
}

async function openFile(path: string): Promise<OpenedFile> {
  const where = basename(path);
  const size = await sizeOfFile(path);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  try {
    const prefix = await readRange(handle, path, 0, new Uint8Array(Math.min(size, 64)));
    const other = describeOther(prefix);
    if (other !== undefined) throw new UserError(`${where} ${other}.`);
    if (size < 8) throw new UserError(`${where}: not a safetensors file (only ${size} bytes).`);
    const length = new DataView(prefix.buffer).getBigUint64(0, true);
    if (length > BigInt(size - 8))
      throw new UserError(
        `${where}: not a safetensors file, or cut off (header of ${length}, file of ${size} bytes).`,
      );
    if (length > MAX_HEADER_BYTES)
      throw new UserError(
        `${where}: its header of ${length} bytes is above the limit of ${MAX_HEADER_BYTES}.`,
      );
    const header = await readRange(handle, path, 8, new Uint8Array(Number(length)));
    return { path, handle, ...parseSafetensorsHeader(header, size - 8 - header.length, path) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openIndex(path: string): Promise<TensorSource> {
  const where = basename(path);
  const root = expectObject(await readJsonFile(path, { maxBytes: MAX_INDEX_BYTES }), where);
  const weightMap = expectObjectAt(root, 'weight_map', where);
  const shards = new Set(
    Object.keys(weightMap).map((name) => expectString(weightMap, name, `${where}: weight_map`)),
  );
  const opened: OpenedFile[] = [];
  try {
    const tensors: TensorInfo[] = [];
    const homes = new Map<string, string>();
    const metadata = new Map<string, string>();
    for (const shard of shards) {
      const file = await openFile(await resolveInside(dirname(path), shard, where));
      opened.push(file);
      for (const [key, value] of file.metadata) if (!metadata.has(key)) metadata.set(key, value);
      for (const tensor of file.tensors) {
        const other = homes.get(tensor.name);
        if (other !== undefined)
          throw new UserError(
            `${where}: tensor ${show(tensor.name)} is in two shards, ${other} and ${shard}.`,
          );
        homes.set(tensor.name, shard);
        tensors.push(tensor);
      }
    }
    return createSource(where, tensors, metadata, opened);
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

async function closeAll(files: readonly OpenedFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.handle.close()));
}

/** Reads exactly `into.length` bytes at `position`, or throws: the file was checked, so it has changed. */
async function readRange<T extends Uint8Array>(
  handle: FileHandle,
  path: string,
  position: number,
  into: T,
): Promise<T> {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(into.length - done, 0x4000_0000);
    const { bytesRead } = await handle.read(into, done, length, position + done);
    if (bytesRead === 0) throw new UserError(`${basename(path)}: ends too early; did it change while open?`);
    done += bytesRead;
  }
  return into;
}

function createSource(
  label: string,
  infos: readonly TensorInfo[],
  metadata: ReadonlyMap<string, string>,
  files: readonly OpenedFile[],
): TensorSource {
  const tensors = new Map(infos.map((info) => [info.name, info]));
  const handles = new Map(files.map((file) => [file.path, file.handle]));

  function find(name: string): TensorInfo {
    const info = tensors.get(name);
    if (!info) throw new UserError(`${label}: there is no tensor ${show(name)}.`);
    return info;
  }

  async function readBytes(name: string, begin = 0, end = find(name).byteLength): Promise<Uint8Array> {
    const { file, offset, byteLength } = find(name);
    if (begin < 0 || begin > end || end > byteLength)
      throw new RangeError(`Bytes ${begin} to ${end} of ${name}, which has ${byteLength}.`);
    return readRange(handles.get(file)!, file, offset + begin, new Uint8Array(end - begin));
  }

  /** Elements `start` to `end` as float32, through a buffer of at most 4 MiB where they need decoding. */
  async function readFloats(info: TensorInfo, start: number, end: number): Promise<Float32Array> {
    const { name, dtype } = info;
    const size = DTYPE_BYTES.get(dtype)!;
    if (!isFloat(info))
      throw new UserError(`${label}: tensor ${show(name)} holds ${dtype}, not floating-point numbers.`);
    const out = new Float32Array(end - start);
    if (dtype === 'F32') {
      await readRange(handles.get(info.file)!, info.file, info.offset + start * size, byteView(out));
      return out;
    }
    for (let at = start; at < end; at += DECODE_BYTES / size) {
      const stop = Math.min(end, at + DECODE_BYTES / size);
      const { buffer } = await readBytes(name, at * size, stop * size);
      const part = out.subarray(at - start, stop - start);
      if (dtype === 'F16') halfToFloat32(new Uint16Array(buffer), part);
      else if (dtype === 'BF16') bfloat16ToFloat32(new Uint16Array(buffer), part);
      else part.set(new Float64Array(buffer));
    }
    return out;
  }

  return {
    tensors,
    metadata,
    byteLength: infos.reduce((sum, info) => sum + info.byteLength, 0),
    readBytes,
    async read(name) {
      const info = find(name);
      return readFloats(
        info,
        0,
        info.shape.reduce((a, b) => a * b, 1),
      );
    },
    async readRows(name, start, end) {
      const info = find(name);
      const [rows = 0] = info.shape;
      if (start < 0 || start > end || end > rows)
        throw new RangeError(`Rows ${start} to ${end} of ${name}, which has ${rows}.`);
      const perRow = rows === 0 ? 0 : info.shape.slice(1).reduce((a, b) => a * b, 1);
      return readFloats(info, start * perRow, end * perRow);
    },
    async readInt(name) {
      const { dtype } = find(name);
      const { buffer } = await readBytes(name);
      switch (dtype) {
        case 'I64':
          return new BigInt64Array(buffer as ArrayBuffer);
        case 'I32':
          return BigInt64Array.from(new Int32Array(buffer), BigInt);
        case 'I16':
          return BigInt64Array.from(new Int16Array(buffer), BigInt);
        case 'I8':
          return BigInt64Array.from(new Int8Array(buffer), BigInt);
        case 'U8':
        case 'BOOL':
          return BigInt64Array.from(new Uint8Array(buffer), BigInt);
        default:
          throw new UserError(`${label}: tensor ${show(name)} holds ${dtype}, not integers.`);
      }
    },
    close: () => closeAll(files),
  };
}

const byteView = (view: Float32Array): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
