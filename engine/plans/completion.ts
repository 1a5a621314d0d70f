/** What can be written next in the text of a precision plan, of layers and bit-widths that there are, and what a key there means. */
import { getLocation, type Location } from 'jsonc-parser';
import { compileGlob, isGlob, MAX_GLOB_LENGTH } from './globs.js';
import { parsePlan, resolvePlan, type PrecisionPlan, type TextRange } from './plan.js';

/** Layers by name, in the order of the model, with the block that each is in. */
export type NamedLayers = readonly { readonly name: string; readonly block: string }[];

export interface Completion {
  readonly kind: 'layer' | 'pattern' | 'bits';
  /** A key of `layers`, or a bit-width. */
  readonly value: string | number;
  /** What the text has in place of `range` afterwards. */
  readonly text: string;
  /** Where a value is still to be written behind the text. */
  readonly lacksValue: boolean;
  /** What stands behind that value. */
  readonly behind: '' | ',';
  readonly range: TextRange;
  /** The layers that it is about, by index. */
  readonly layers: readonly number[];
}

/** @param plan the last one that the text was, for what is named already; @param bits the bit-widths offered */
export function completionsAt(
  text: string,
  offset: number,
  layers: NamedLayers,
  bits: readonly number[],
  plan: PrecisionPlan | undefined,
): Completion[] {
  const location = getLocation(text, offset);
  if (location.matches(['layers', '*']) && location.path.length === 2)
    return location.isAtPropertyKey
      ? keysAt(text, offset, location, layers, plan)
      : widthsAt(offset, location, bits, layersOfKey(String(location.path[1]), layers));
  if (location.path.length !== 1 || location.path[0] !== 'default' || location.isAtPropertyKey) return [];
  return widthsAt(offset, location, bits, layersOfDefault(layers, bits, plan));
}

/** The layers that a key of `layers` or the default is about, where one stands at this place of the text. */
export function layersAt(
  text: string,
  offset: number,
  layers: NamedLayers,
): { readonly range: TextRange; readonly layers: readonly number[] } | undefined {
  const { places } = parsePlan(text);
  for (const [key, range] of places.layers)
    if (offset >= range.offset && offset <= range.offset + range.length)
      return { range, layers: layersOfKey(key, layers) };
  return undefined;
}

function keysAt(
  text: string,
  offset: number,
  { previousNode }: Location,
  layers: NamedLayers,
  plan: PrecisionPlan | undefined,
): Completion[] {
  const typed = isAt(previousNode, offset) ? previousNode : undefined;
  const range = typed ? { offset: typed.offset, length: typed.length } : { offset, length: 0 };
  const rest = text.slice(range.offset + range.length).trimStart();
  const own = typed?.value as string | undefined;
  const known = new Set(Object.keys(plan?.layers ?? {}).filter((key) => key !== own));
  const common = {
    range,
    lacksValue: !rest.startsWith(':'),
    behind: rest.startsWith('"') ? (',' as const) : ('' as const),
  };
  const patterns = patternsOf(layers).map(([value, found]): Completion => ({
    ...common,
    kind: 'pattern',
    value,
    text: JSON.stringify(value),
    layers: found,
  }));
  const names = layers.map(({ name }, i): Completion => ({
    ...common,
    kind: 'layer',
    value: name,
    text: JSON.stringify(name),
    layers: [i],
  }));
  return [...patterns, ...names].filter(({ value }) => !known.has(value as string));
}

/** Patterns of the layers that go by one name in their blocks, then of the layers of each block; each of several layers. */
function patternsOf(layers: NamedLayers): [pattern: string, layers: number[]][] {
  const ends = new Map<string, number[]>();
  const blocks = new Map<string, number[]>();
  const add = (found: Map<string, number[]>, key: string, i: number) => {
    const own = found.get(key) ?? [];
    own.push(i);
    found.set(key, own);
  };
  for (const [i, { name, block }] of layers.entries()) {
    if (!name.startsWith(`${block}.`) || isGlob(name)) continue;
    add(ends, name.slice(block.length), i);
    add(blocks, block, i);
  }
  // A name within one block may be the end of a longer one in another.
  const withEnd = (end: string) => layers.flatMap(({ name }, i) => (name.endsWith(end) ? [i] : []));
  return [
    ...[...ends.keys()].map((end): [string, number[]] => [`**${end}`, withEnd(end)]),
    ...[...blocks].map(([block, own]): [string, number[]] => [`${block}.**`, own]),
  ].filter(([, { length }]) => length > 1);
}

function widthsAt(
  offset: number,
  { previousNode }: Location,
  bits: readonly number[],
  layers: readonly number[],
): Completion[] {
  // A value that stands before the place is whole.
  if (previousNode && !isAt(previousNode, offset)) return [];
  const range = { offset: previousNode?.offset ?? offset, length: previousNode?.length ?? 0 };
  const widths = [...bits].sort((a, b) => b - a);
  return widths.map((value) => ({
    kind: 'bits',
    value,
    text: String(value),
    lacksValue: false,
    behind: '',
    range,
    layers,
  }));
}

const isAt = (node: TextRange | undefined, offset: number): boolean =>
  node !== undefined && offset >= node.offset && offset <= node.offset + node.length;

function layersOfKey(key: string, layers: NamedLayers): number[] {
  const own = layers.findIndex(({ name }) => name === key);
  if (own >= 0) return [own];
  if (!isGlob(key) || key.length > MAX_GLOB_LENGTH) return [];
  const matches = compileGlob(key);
  return layers.flatMap(({ name }, i) => (matches(name) ? [i] : []));
}

/** Those that nothing else names. */
function layersOfDefault(
  layers: NamedLayers,
  bits: readonly number[],
  plan: PrecisionPlan | undefined,
): number[] {
  const all = layers.map((_, i) => i);
  if (!plan) return all;
  const names = layers.map(({ name }) => name);
  const { from } = resolvePlan(plan, names, bits);
  return all.filter((i) => from[i] === undefined);
}
