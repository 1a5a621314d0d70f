/** How a checkpoint's tensors meet a model's parameters: other names, tied tables, and tensors that nothing reads. */
import { show } from '../formats/paths.js';
import { isFloat, type TensorSource } from '../formats/safetensors.js';
import { sizeOf, type Shape } from '../graph/ir.js';
import type { Family } from './family.js';
import { listPart, storedName, type PartListing } from './listing.js';
import { partsOf, type Model, type Part } from './model.js';

/** A tensor that a model needs. */
interface NeededTensor {
  readonly tensor: string;
  readonly shape: Shape;
  readonly storedShape: Shape;
  /** What the parameters that share it would be called by themselves: a table may be stored by any of these names. */
  readonly shared: readonly string[];
}

/** All that a model needs, each once, by the family's names. */
export function neededTensors(
  model: Model,
  listing: (part: Part) => PartListing,
): ReadonlyMap<string, NeededTensor> {
  const needed = new Map<string, NeededTensor>();
  for (const part of partsOf(model))
    for (const entry of listing(part).parameters) {
      const tensor = storedName(part, entry);
      const own = part.prefix + entry.name;
      const { shape, storedShape, shared } = needed.get(tensor) ?? { ...entry, shared: [] };
      needed.set(tensor, { tensor, shape, storedShape, shared: own === tensor ? shared : [...shared, own] });
    }
  return needed;
}

/** By which of its names a checkpoint has a tensor. */
export interface StoredNames {
  find(this: void, tensor: string): string | undefined;
  /** Of all that are needed, by the family's names; those that are missing are left out. */
  of(this: void, needed: ReadonlyMap<string, NeededTensor>): ReadonlyMap<string, string>;
}

export function storedNames({ tensors }: TensorSource, { otherNames }: Family): StoredNames {
  const find = (tensor: string) =>
    [tensor, ...(otherNames?.(tensor) ?? [])].find((name) => tensors.has(name));
  return {
    find,
    of: (needed) => {
      const names = new Map<string, string>();
      for (const { tensor, shared } of needed.values()) {
        const name = [tensor, ...shared].map(find).find((each) => each !== undefined);
        if (name !== undefined) names.set(tensor, name);
      }
      return names;
    },
  };
}

/** The same tensors by other names. @param names of stored tensors, by those that they are to have */
export function renameTensors(source: TensorSource, names: ReadonlyMap<string, string>): TensorSource {
  const renamed = [...names].filter(([name, stored]) => name !== stored);
  if (renamed.length === 0) return source;
  const tensors = new Map(source.tensors);
  for (const [, stored] of renamed) tensors.delete(stored);
  for (const [name, stored] of renamed) tensors.set(name, { ...source.tensors.get(stored)!, name });
  const storedOf = (name: string) => names.get(name) ?? name;
  return {
    ...source,
    tensors,
    read: (name) => source.read(storedOf(name)),
    readRows: (name, start, end) => source.readRows(storedOf(name), start, end),
    readInt: (name) => source.readInt(storedOf(name)),
    readBytes: (name, begin, end) => source.readBytes(storedOf(name), begin, end),
  };
}

/**
 * Whether a checkpoint stores, beside a table that its configuration ties to a head, another one for the head: a sentence on
 * it, or undefined.
 */
export async function findOwnHead(
  model: Model,
  source: TensorSource,
  { find }: StoredNames,
): Promise<string | undefined> {
  const { head } = model;
  for (const { tensor, shared } of neededTensors(model, () => listPart(head)).values())
    for (const own of shared) {
      const [table, other] = [find(tensor), find(own)];
      if (table === undefined || other === undefined || (await areEqual(source, table, other))) continue;
      return (
        `the stored tensor ${show(other)} differs from the table that "tie_word_embeddings" ties it to, and is what the head reads, ` +
        'as in transformers 5; earlier versions read the table.'
      );
    }
  return undefined;
}

/** Elements that are compared at a time. */
const COMPARED = 1 << 20;

async function areEqual(source: TensorSource, a: string, b: string): Promise<boolean> {
  const [one, other] = [source.tensors.get(a)!, source.tensors.get(b)!];
  if (!isFloat(one) || !isFloat(other) || one.shape.join() !== other.shape.join()) return false;
  const [rows = 1] = one.shape;
  const rowBytes = one.byteLength / rows;
  const step = Math.max(1, Math.floor((COMPARED * rows) / sizeOf(one.shape)));
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step);
    // Many times faster than reading numbers, which may be equal where their bytes are not.
    const bytes = (name: string) => source.readBytes(name, start * rowBytes, end * rowBytes);
    if (one.dtype === other.dtype && Buffer.compare(await bytes(a), await bytes(b)) === 0) continue;
    const [x, y] = await Promise.all([source.readRows(a, start, end), source.readRows(b, start, end)]);
    for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return false;
  }
  return true;
}

/** Tensors that are named. */
const NAMED = 3;

/** A line on the tensors of a checkpoint that its model, as configured, has no place for; none where all are read. */
export function unreadTensors(
  source: TensorSource,
  needed: ReadonlyMap<string, NeededTensor>,
  { ignores }: Family,
): string[] {
  const shared = new Set([...needed.values()].flatMap((each) => each.shared));
  const unread = [...source.tensors.keys()].filter(
    (name) => !needed.has(name) && !shared.has(name) && !ignores?.test(name),
  );
  if (unread.length === 0) return [];
  const others = unread.length - NAMED;
  const named = unread
    .slice(0, NAMED)
    .map((name) => show(name))
    .join(', ');
  return [
    `${unread.length === 1 ? 'one tensor is' : `${unread.length} tensors are`} not read, since config.json describes no layer that has ` +
      `${unread.length === 1 ? 'it' : 'them'}: ${named}${others > 0 ? ` and ${others} more` : ''}.`,
  ];
}
