import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';
import type { ImageSource } from './image-source.js';

/**
 * Maps the labels of `source` to the `numLabels` classes of a model. -1 stays -1.
 *
 * Class names (folders, ClassLabel names, texts) that are the model's own list stand for its classes in order. Else they are
 * looked up among the model's names: as they are, then without regard to case, `_`, `-`, `/` and spaces, then as the first of
 * comma-separated synonyms ("tench" for "tench, Tinca tinca"). If none is found, names that are all whole numbers are the
 * numbers of classes; other names, if there are as many as the model has classes, stand for classes 0, 1, … in the order of
 * the source. Labels without names stand for themselves. `UserError` in any other case, such as a name that two classes have.
 * @param names of the model's classes, by their numbers
 */
export function alignLabels(
  source: ImageSource,
  names: ReadonlyMap<number, string>,
  numLabels: number,
): (label: number) => number {
  const classes = source.classNames ? alignNames(source, source.classNames, names, numLabels) : undefined;
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
  own: readonly string[],
  names: ReadonlyMap<number, string>,
  numLabels: number,
): readonly number[] {
  if (own.length === numLabels && own.every((name, id) => name === names.get(id))) return [...own.keys()];
  const find = finderOf(names);
  const found = own.map(find);
  const shared = own.find((_, index) => found[index] === SHARED);
  if (shared !== undefined)
    throw new UserError(
      `${source.name}: ${show(shared, 40)} is the name of several classes of the model; name its pictures by the number of their class.`,
    );
  if (found.every((id) => id !== undefined)) return found;
  const missing = own.filter((_, index) => found[index] === undefined);
  if (missing.length === own.length && own.every((name) => /^\d+$/.test(name)))
    return classNumbers(source, own, numLabels);
  const inOrder = own.length === numLabels && found.every((id, index) => id === undefined || id === index);
  if (inOrder) return [...own.keys()];
  throw new UserError(
    `${source.name} has ${own.length} classes, of which the model does not know ${listing(missing)}; ` +
      `the model has ${numLabels} classes${names.size > 0 ? `: ${listing([...names.values()])}` : ' without names'}.`,
  );
}

function classNumbers(source: ImageSource, own: readonly string[], numLabels: number): number[] {
  const numbers = own.map(Number);
  const beyond = own.find((_, index) => numbers[index]! >= numLabels);
  if (beyond !== undefined)
    throw new UserError(
      `${source.name} names its classes by number; ${beyond} is none of the model's, 0 to ${numLabels - 1}.`,
    );
  const twice = own.find((_, index) => numbers.indexOf(numbers[index]!) !== index);
  if (twice !== undefined)
    throw new UserError(`${source.name} names its classes by number; ${twice} is there twice.`);
  return numbers;
}

/** More than one class has the name. */
const SHARED = -2;

/** Looks a class name up among the model's, the strictest way first. */
function finderOf(names: ReadonlyMap<number, string>): (name: string) => number | undefined {
  const entries = [...names].map(([id, name]) => [name, id] as const);
  const exact = byKey(entries);
  const loose = byKey(entries.map(([name, id]) => [normalize(name), id]));
  const synonyms = byKey(entries.map(([name, id]) => [normalize(name.split(',', 1)[0]!), id]));
  return (name) => exact.get(name) ?? loose.get(normalize(name)) ?? synonyms.get(normalize(name));
}

function byKey(entries: readonly (readonly [string, number])[]): Map<string, number> {
  const map = new Map<string, number>();
  for (const [key, id] of entries) map.set(key, map.has(key) && map.get(key) !== id ? SHARED : id);
  return map;
}

const normalize = (name: string) =>
  name
    .toLowerCase()
    .replace(/[\s_/\\-]+/g, ' ')
    .trim();

function listing(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => show(name, 40));
  return shown.join(', ') + (names.length > shown.length ? `, … (${names.length})` : '');
}
