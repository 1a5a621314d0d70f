import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';
import type { ImageSource } from './image-source.js';

/**
 * Maps the labels of `source` to the `numLabels` classes of a model. -1 stays -1.
 *
 * Class names (folders, ClassLabel names) are looked up in `label2id`: as they are, then without regard to
 * case, `_`, `-`, `/` and spaces, then as the first of a model's comma-separated synonyms ("tench" for "tench,
 * Tinca tinca"). If none is found and there are as many as the model has classes, they stand for classes 0,
 * 1, … in the order of the source. Labels without names stand for themselves. `UserError` in any other case.
 */
export function alignLabels(
  source: ImageSource,
  label2id: Readonly<Record<string, number>> | undefined,
  numLabels: number,
): (label: number) => number {
  const classes = source.classNames
    ? alignNames(source, source.classNames, label2id ?? {}, numLabels)
    : undefined;
  const align = (label: number) => {
    if (label === -1) return -1;
    const id = classes ? classes[label] : label;
    if (id !== undefined && id >= 0 && id < numLabels) return id;
    throw new UserError(
      `${source.name}: label ${label} is out of range: ` +
        `${classes ? `it names ${classes.length} classes` : `the model has classes 0 to ${numLabels - 1}`}.`,
    );
  };
  source.labels?.forEach(align);
  return align;
}

function alignNames(
  source: ImageSource,
  names: readonly string[],
  label2id: Readonly<Record<string, number>>,
  numLabels: number,
): readonly number[] {
  const find = finderOf(label2id);
  const found = names.map(find);
  const missing = names.filter((_, index) => found[index] === undefined);
  if (missing.length === 0) return found as number[];
  const inOrder = names.length === numLabels && found.every((id, index) => id === undefined || id === index);
  if (inOrder) return names.map((_, index) => index);
  const known = Object.keys(label2id);
  throw new UserError(
    `${source.name} has ${names.length} classes, of which the model does not know ${listing(missing)}; ` +
      `the model has ${numLabels} classes${known.length > 0 ? `: ${listing(known)}` : ' without names'}.`,
  );
}

/** Looks a class name up in `label2id`, the strictest way first. A form that two classes share counts as unknown. */
function finderOf(label2id: Readonly<Record<string, number>>): (name: string) => number | undefined {
  const entries = Object.entries(label2id);
  const exact = new Map(entries);
  const loose = unambiguous(entries.map(([name, id]) => [normalize(name), id]));
  const synonyms = unambiguous(entries.map(([name, id]) => [normalize(name.split(',', 1)[0]!), id]));
  return (name) => exact.get(name) ?? loose.get(normalize(name)) ?? synonyms.get(normalize(name));
}

const normalize = (name: string) =>
  name
    .toLowerCase()
    .replace(/[\s_/\\-]+/g, ' ')
    .trim();

function unambiguous(entries: readonly (readonly [string, number])[]): Map<string, number> {
  const map = new Map<string, number>();
  const shared = new Set<string>();
  for (const [name, id] of entries) {
    if (map.has(name) && map.get(name) !== id) shared.add(name);
    map.set(name, id);
  }
  for (const name of shared) map.delete(name);
  return map;
}

function listing(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => show(name, 40));
  return shown.join(', ') + (names.length > shown.length ? `, … (${names.length})` : '');
}
