/** Changes to the text of a precision plan, as small as they can be. */
import { findNodeAtLocation, parseTree, type Node } from 'jsonc-parser';
import { globsOf, parsePlan, type Glob, type PrecisionPlan, type TextRange } from './plan.js';

/** Replaces a part of a text. Edits of one list do not overlap, are in order, and all refer to the text as it was. */
export interface TextEdit extends TextRange {
  readonly text: string;
}

/** The text after edits. */
export function applyEdits(text: string, edits: readonly TextEdit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { offset, length, text: put } of edits) {
    parts.push(text.slice(at, offset), put);
    at = offset + length;
  }
  return parts.join('') + text.slice(at);
}

/**
 * Edits that give exactly the layers of `changes` these bits. A layer whose default or globs say so already loses its
 * own entry; others get one, in the order of the model. No edits where the text is not a plan.
 *
 * @param layers all names, in the order of the model
 */
export function editPlan(
  text: string,
  changes: ReadonlyMap<string, number>,
  layers: readonly string[],
): TextEdit[] {
  const { plan } = parsePlan(text);
  if (!plan) return [];
  const globs = globsOf(plan, new Set(layers));
  if (!globs) return [];
  const wanted = new Map<string, number | undefined>();
  for (const [layer, bits] of changes) {
    const own = impliedBits(plan, globs, layer) === bits ? undefined : bits;
    if (own !== plan.layers[layer]) wanted.set(layer, own);
  }
  return wanted.size === 0 ? [] : editEntries(text, wanted, layers);
}

/** Edits that give every layer its bits: uniform bits become the default alone, without any entry. */
export function editWholePlan(text: string, bits: readonly number[], layers: readonly string[]): TextEdit[] {
  const { plan, places } = parsePlan(text);
  const [first] = bits;
  if (!plan || first === undefined) return [];
  if (bits.some((width) => width !== first))
    return editPlan(text, new Map(layers.map((layer, i) => [layer, bits[i]!])), layers);
  const root = parseTree(text)!;
  const object = findNodeAtLocation(root, ['layers']);
  const edits: TextEdit[] = [];
  if (plan.default !== first) edits.push({ ...places.default!, text: String(first) });
  if (object?.children?.length) edits.push({ ...innerOf(object), text: '' });
  return inOrder(edits);
}

/** Edits that name the model or the adapter set; a new key comes first, or behind the model. No edits where the text is not a plan. */
export function editPath(text: string, key: 'model' | 'adapters', path: string): TextEdit[] {
  if (!parsePlan(text).plan) return [];
  const root = parseTree(text)!;
  const value = findNodeAtLocation(root, [key]);
  const written = JSON.stringify(path);
  if (value) return [{ offset: value.offset, length: value.length, text: written }];
  // A plan has a default at least.
  const first = root.children![0]!;
  const { space } = outerLayout(text, first);
  const model = findNodeAtLocation(root, ['model'])?.parent;
  const line = `"${key}": ${written}`;
  if (model) return [{ offset: endOf(model), length: 0, text: `,${space}${line}` }];
  return [{ offset: first.offset, length: 0, text: `${line},${space}` }];
}

/** What a layer would have without an entry of its own; undefined where globs contradict each other. */
function impliedBits(plan: PrecisionPlan, globs: readonly Glob[], layer: string): number | undefined {
  const found = globs.filter(({ matches }) => matches(layer)).map(({ bits }) => bits);
  if (found.length === 0) return plan.default;
  return found.every((bits) => bits === found[0]) ? found[0] : undefined;
}

/** @param wanted bits of an entry, undefined for none; every one of them is a change */
function editEntries(
  text: string,
  wanted: ReadonlyMap<string, number | undefined>,
  layers: readonly string[],
): TextEdit[] {
  const root = parseTree(text)!;
  const object = findNodeAtLocation(root, ['layers']);
  const order = new Map(layers.map((layer, i) => [layer, i]));
  if (!object) return insertLayers(text, root, additionsOf(wanted, new Set(), order));

  const entries = (object.children ?? []).map(entryOf);
  const present = new Set(entries.map(({ key }) => key));
  const kept = entries.filter(({ key }) => !wanted.has(key) || wanted.get(key) !== undefined);
  const additions = additionsOf(wanted, present, order);
  const edits = kept.flatMap(({ key, value }): TextEdit[] => {
    const bits = wanted.get(key);
    return bits === undefined ? [] : [{ offset: value.offset, length: value.length, text: String(bits) }];
  });

  const { separator, end } = layoutOf(text, object);
  if (kept.length === 0) {
    const inner =
      additions.length > 0
        ? `${separator}${additions.map(({ line }) => line).join(`,${separator}`)}${end}`
        : '';
    return [{ ...innerOf(object), text: inner }];
  }
  const added = gapsOfAdditions(kept, additions, order);
  const removed = gapsOfRemovals(entries, new Set(kept));
  for (const gap of new Set([...added.keys(), ...removed.keys()])) {
    const lines = added.get(gap) ?? [];
    const [first, last] = removed.get(gap) ?? [];
    const [before, after] = [kept[gap - 1], kept[gap]];
    if (before) {
      const from = endOf(before.node);
      const inserted = lines.map((own) => `,${separator}${own}`).join('');
      edits.push({ offset: from, length: last ? endOf(last.node) - from : 0, text: inserted });
    } else {
      const from = (first ?? after!).node.offset;
      const inserted = lines.map((own) => `${own},${separator}`).join('');
      edits.push({ offset: from, length: after!.node.offset - from, text: inserted });
    }
  }
  return inOrder(edits);
}

interface Entry {
  readonly key: string;
  readonly node: Node;
  readonly value: Node;
}

const entryOf = (node: Node): Entry => {
  const [name, value] = node.children!;
  return { key: name!.value as string, node, value: value! };
};

interface Addition {
  readonly line: string;
  /** Of its layer in the model. */
  readonly index: number;
}

const additionsOf = (
  wanted: ReadonlyMap<string, number | undefined>,
  present: ReadonlySet<string>,
  order: ReadonlyMap<string, number>,
): Addition[] =>
  [...wanted]
    .flatMap(([layer, bits]): Addition[] => {
      if (bits === undefined || present.has(layer)) return [];
      return [{ line: `${JSON.stringify(layer)}: ${bits}`, index: order.get(layer) ?? Infinity }];
    })
    .sort((a, b) => a.index - b.index);

/** New lines by the number of kept entries before them: behind the last one whose layer comes earlier in the model. */
function gapsOfAdditions(
  kept: readonly Entry[],
  additions: readonly Addition[],
  order: ReadonlyMap<string, number>,
): Map<number, string[]> {
  const exact = kept
    .flatMap(({ key }, i) => (order.has(key) ? [{ index: order.get(key)!, gap: i + 1 }] : []))
    .sort((a, b) => a.index - b.index);
  const gaps = new Map<number, string[]>();
  let passed = 0;
  for (const { line, index } of additions) {
    while (passed < exact.length && exact[passed]!.index < index) passed++;
    const gap = exact[passed - 1]?.gap ?? (exact[0] ? exact[0].gap - 1 : kept.length);
    if (!gaps.get(gap)?.push(line)) gaps.set(gap, [line]);
  }
  return gaps;
}

/** First and last entry to go, by the number of kept entries before them. */
function gapsOfRemovals(
  entries: readonly Entry[],
  kept: ReadonlySet<Entry>,
): Map<number, readonly [Entry, Entry]> {
  const gaps = new Map<number, readonly [Entry, Entry]>();
  let gap = 0;
  for (const entry of entries) {
    if (kept.has(entry)) gap++;
    else gaps.set(gap, [gaps.get(gap)?.[0] ?? entry, entry]);
  }
  return gaps;
}

/** The space before an entry and before the closing brace, as it is there or as it would be. */
function layoutOf(text: string, object: Node): { readonly separator: string; readonly end: string } {
  const first = object.children?.[0];
  const last = object.children?.at(-1);
  if (first && last)
    return {
      separator: text.slice(object.offset + 1, first.offset) || ' ',
      end: text.slice(endOf(last), endOf(object) - 1),
    };
  const outer = outerLayout(text, object);
  return { separator: outer.space + outer.indent, end: outer.space };
}

function insertLayers(text: string, root: Node, additions: readonly Addition[]): TextEdit[] {
  const last = root.children!.at(-1)!;
  const { space, indent } = outerLayout(text, last);
  const inner = additions.map(({ line }) => space + indent + line).join(',');
  return [{ offset: endOf(last), length: 0, text: `,${space}"layers": {${inner}${space}}` }];
}

/** Line break and indentation of the plan's own keys, and what one level adds. */
function outerLayout(text: string, within: Node): { readonly space: string; readonly indent: string } {
  let property = within;
  while (property.parent?.parent) property = property.parent;
  const before = /\r?\n[ \t]*$/.exec(text.slice(0, property.offset))?.[0];
  if (before === undefined) return { space: text.includes('\r\n') ? '\r\n  ' : '\n  ', indent: '  ' };
  return { space: before, indent: before.replace(/^\r?\n/, '') || '  ' };
}

const endOf = ({ offset, length }: TextRange): number => offset + length;
const innerOf = ({ offset, length }: TextRange): TextRange => ({ offset: offset + 1, length: length - 2 });
const inOrder = (edits: TextEdit[]): TextEdit[] => edits.sort((a, b) => a.offset - b.offset);
