/**
 * How a set keeps what was learned of a block (docs/FORMATS.md): in float32; or adapters in int8, each direction with a
 * scale for its row of A and one for its column of B, and clip logits in float16.
 */
import type { NamedTensors } from '../../execution/tensors.js';
import { float32ToHalf, halfToFloat32 } from '../../formats/floats.js';
import type { ExpectedTensor, SetTensors } from '../../formats/set.js';
import type { Part } from '../../models/model.js';
import { floatsOf } from '../tensors-of.js';
import type { BitGroup } from './adapters.js';
import { NO_CLIP } from './weights.js';

export type Storage = 'float32' | 'int8';

/** The largest code, and the smallest magnitude of a direction that is not zero. */
const MOST = 127;
const LEAST = 2 ** -100;

type Shape = readonly number[];

const isAdapter = (name: string): boolean => /(^|\.)lora_[AB]$/.test(name);
const isClip = (name: string): boolean => /(^|\.)clip_(upper|lower)\.\d$/.test(name);
const scaleName = (name: string): string => `${name}_scale`;

/** The tensors that a set has for a learned one. */
export function storedForms(
  storage: Storage,
  name: string,
  shape: Shape,
): (readonly [string, ExpectedTensor])[] {
  if (storage === 'int8' && isAdapter(name))
    return [
      [name, { shape, dtype: 'I8' }],
      [scaleName(name), { shape: [directionsOf(name, shape).count], positive: true }],
    ];
  return [[name, storage === 'int8' && isClip(name) ? { shape, dtype: 'F16' } : { shape }]];
}

/**
 * The values that a set gives back of those that were learned. They are what a calibration goes on with, so that later
 * blocks and the guard see the function that the set will have; stored once more, they stay the same.
 */
export function asStored(storage: Storage, tensors: NamedTensors): NamedTensors {
  if (storage === 'float32') return tensors;
  return new Map(
    [...tensors].map(([name, { shape, data }]) => {
      if (isClip(name)) return [name, { shape, data: halfToFloat32(float32ToHalf(data.map(limited))) }];
      if (!isAdapter(name)) return [name, { shape, data }];
      return [name, { shape, data: decoded(name, shape, encoded(name, shape, data)) }];
    }),
  );
}

/** Further logits change a range by nothing that float32 tells apart. */
const limited = (logit: number): number => Math.max(-NO_CLIP, Math.min(NO_CLIP, logit));

/** The elements of a tensor that a set stores, from the values that `asStored` left. @param stored one of `storedForms` */
export function storedElements(
  storage: Storage,
  stored: string,
  tensors: NamedTensors,
): Float32Array | Int8Array {
  const [name, isScale] = tensors.has(stored) ? [stored, false] : [stored.replace(/_scale$/, ''), true];
  const { shape, data } = tensors.get(name)!;
  if (storage === 'float32' || !isAdapter(name)) return data;
  const { scale, codes } = encoded(name, shape, data);
  return isScale ? scale : codes;
}

/** The learned tensors of a part, by local name, in float32, as a set has them. */
export const storedReader =
  (storage: Storage, tensors: Pick<SetTensors, 'floats' | 'bytes'>) =>
  async (part: Pick<Part, 'prefix'>): Promise<NamedTensors> => {
    const found = await floatsOf(tensors)(part);
    if (storage === 'float32') return found;
    for (const [key, { data: scale }] of [...found]) {
      const name = key.replace(/_scale$/, '');
      if (!isAdapter(name)) continue;
      found.delete(key);
      const { buffer, byteOffset, length } = await tensors.bytes(part.prefix + name);
      const codes = new Int8Array(buffer, byteOffset, length);
      const others = length / scale.length;
      const shape = name.endsWith('A') ? [scale.length, others] : [others, scale.length];
      found.set(name, { shape, data: decoded(name, shape, { codes, scale }) });
    }
    return found;
  };

/** The groups with the ranks that are left where no bit-width uses directions beyond `rank`. */
export const withRank = (groups: readonly BitGroup[], rank: number): BitGroup[] =>
  groups.map((group) => ({ ...group, rank: Math.min(group.rank, rank) }));

/** How many directions are used at all: none by bit-widths that kept their start. */
export const usedRank = (groups: readonly BitGroup[]): number =>
  Math.max(0, ...groups.filter(({ gain }) => gain > 0).map(({ rank }) => rank));

/** Shapes of learned tensors that are left with the first `rank` directions of adapters; without any, no adapters. */
export function withDirections(shapes: ReadonlyMap<string, Shape>, rank: number): Map<string, Shape> {
  const cut = new Map<string, Shape>();
  for (const [name, shape] of shapes)
    if (!isAdapter(name)) cut.set(name, shape);
    else if (rank > 0) cut.set(name, name.endsWith('A') ? [rank, shape[1]!] : [shape[0]!, rank]);
  return cut;
}

/** Such tensors themselves. */
export function firstDirections(tensors: NamedTensors, rank: number): NamedTensors {
  const shapes = withDirections(new Map([...tensors].map(([name, { shape }]) => [name, shape])), rank);
  return new Map(
    [...shapes].map(([name, shape]) => {
      const { shape: whole, data } = tensors.get(name)!;
      const row = whole[1];
      const width = shape[1];
      if (!isAdapter(name) || row === undefined || width === undefined) return [name, { shape, data }];
      const of = (_: unknown, i: number) => data[Math.floor(i / width) * row + (i % width)]!;
      return [name, { shape, data: Float32Array.from({ length: shape[0]! * width }, of) }];
    }),
  );
}

/** How many directions an adapter's factor has, and which one an element belongs to: rows of A, columns of B. */
function directionsOf(name: string, shape: Shape): { count: number; of: (at: number) => number } {
  const [rows, columns] = shape as readonly [number, number];
  if (name.endsWith('A')) return { count: rows, of: (at) => Math.floor(at / columns) };
  return { count: columns, of: (at) => at % columns };
}

interface Codes {
  readonly codes: Int8Array;
  /** One per direction. */
  readonly scale: Float32Array;
}

function encoded(name: string, shape: Shape, data: Float32Array): Codes {
  const { count, of } = directionsOf(name, shape);
  const most = new Float32Array(count);
  for (let i = 0; i < data.length; i++) {
    const d = of(i);
    most[d] = Math.max(most[d]!, Math.abs(data[i]!));
  }
  const scale = most.map((x) => (x < LEAST ? 1 : roundedUp(x / MOST)));
  return { codes: Int8Array.from(data, (x, i) => Math.round(x / scale[of(i)]!)), scale };
}

function decoded(name: string, shape: Shape, { codes, scale }: Codes): Float32Array {
  const { of } = directionsOf(name, shape);
  return Float32Array.from(codes, (code, i) => code * scale[of(i)]!);
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/**
 * The next number of at most 16 significant bits. Its products with all codes are exact in float32, the largest code is
 * always taken, and so the same scale comes out of what it gave.
 */
function roundedUp(x: number): number {
  float[0] = x;
  if (float[0] < x) word[0]! += 1;
  word[0] = (word[0]! + 0xff) & 0xffffff00;
  return float[0];
}
