/** Typed reading of a checkpoint's `config.json`. */
import { UserError } from '../errors.js';
import { show } from '../formats/paths.js';

/** Larger lengths than any real model's: refused before anything is allocated for them. */
const MAX_SIZE = 1 << 24;
const MAX_CLASSES = 1 << 20;

/** Accessors over the parsed object; each throws UserError naming the file, the key, what was expected and what was found. */
export class ModelConfig {
  constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly where: string,
    /** Of a section, its key and a dot. */
    private readonly path = '',
    /** What was noted of it and its sections, a sentence each. */
    readonly notes: string[] = [],
  ) {}

  /** Whether the key is there and not null. */
  has(key: string): boolean {
    return (this.values[key] ?? undefined) !== undefined;
  }

  /** Whether the key is there, be it null. */
  mentions(key: string): boolean {
    return this.values[key] !== undefined;
  }

  /** Whether this section says what another one does. */
  equals(other: ModelConfig): boolean {
    const sorted = ({ values }: ModelConfig) => JSON.stringify(Object.entries(values).sort());
    return sorted(this) === sorted(other);
  }

  /** A positive integer, at most `most`. */
  size(key: string, fallback?: number, most = MAX_SIZE): number {
    const value = this.get(key, fallback);
    if (!isSize(value, most)) this.fail(key, `must be an integer from 1 to ${most}, found ${show(value)}`);
    return value;
  }

  /** An integer from 0. */
  count(key: string, fallback: number): number {
    return this.get(key, fallback) === 0 ? 0 : this.size(key, fallback);
  }

  /** A positive integer, or undefined where the key is null; `fallback` where it is absent. */
  optionalSize(key: string, fallback?: number, most = MAX_SIZE): number | undefined {
    if (!this.has(key)) return this.mentions(key) ? undefined : fallback;
    return this.size(key, undefined, most);
  }

  /** A positive integer for both axes, or a list of the two: [height, width]. */
  pair(key: string, fallback: number, most = MAX_SIZE): readonly [number, number] {
    const value = this.get(key, fallback);
    const both: readonly unknown[] = Array.isArray(value) ? value : [value, value];
    if (both.length !== 2 || !both.every((n) => isSize(n, most)))
      this.fail(key, `must be an integer from 1 to ${most}, or a list of two, found ${show(value)}`);
    return both as [number, number];
  }

  positive(key: string, fallback?: number): number {
    const value = this.get(key, fallback);
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
      this.fail(key, `must be a positive number, found ${show(value)}`);
    return value;
  }

  /** A positive number, or undefined where the key is missing, null or 0. */
  amount(key: string): number | undefined {
    return this.has(key) && this.values[key] !== 0 ? this.positive(key) : undefined;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key, fallback);
    if (typeof value !== 'boolean') this.fail(key, `must be true or false, found ${show(value)}`);
    return value;
  }

  text(key: string): string {
    const value = this.get(key);
    if (typeof value !== 'string') this.fail(key, `must be a text, found ${show(value)}`);
    return value;
  }

  texts(key: string): readonly string[] {
    const value = this.get(key, []);
    if (!Array.isArray(value) || value.some((v) => typeof v !== 'string'))
      this.fail(key, `must be a list of texts, found ${show(value)}`);
    return value as string[];
  }

  /** A positive number, undefined where the key is null, 0 or false; `fallback` where it is absent. */
  optionalAmount(key: string, fallback?: number): number | undefined {
    if (!this.mentions(key)) return fallback;
    return this.values[key] === false ? undefined : this.amount(key);
  }

  /** So many positive numbers. */
  positives(key: string, count: number): readonly number[] {
    const value = this.get(key);
    const isPositive = (n: unknown) => typeof n === 'number' && Number.isFinite(n) && n > 0;
    if (!Array.isArray(value) || value.length !== count || !value.every(isPositive))
      this.fail(key, `must be a list of ${count} positive numbers, found ${show(value)}`);
    return value as number[];
  }

  /** Integers from 0, so many or as many as there are. */
  counts(key: string, count?: number): readonly number[] {
    const value = this.get(key, []);
    const isCount = (n: unknown) => n === 0 || isSize(n, MAX_SIZE);
    if (!Array.isArray(value) || !value.every(isCount) || (count !== undefined && value.length !== count))
      this.fail(key, `must be a list of ${count ?? 'any'} integers from 0, found ${show(value)}`);
    return value;
  }

  oneOf(key: string, allowed: readonly string[], fallback?: string): string {
    const value = this.get(key, fallback);
    if (typeof value !== 'string' || !allowed.includes(value))
      this.fail(key, `is ${show(value)}; supported: ${allowed.join(', ')}`);
    return value;
  }

  /** The object under a key, its own keys named `key.inner` in errors; undefined where there is none, or nothing in it. */
  section(key: string): ModelConfig | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    if (typeof value !== 'object' || Array.isArray(value))
      this.fail(key, `must be an object, found ${show(value)}`);
    if (Object.keys(value as object).length === 0) return undefined;
    return new ModelConfig(value as Record<string, unknown>, this.where, `${this.path}${key}.`, this.notes);
  }

  /**
   * The number of classes, and their names by number where `id2label` has them. `num_labels` counts where the two differ, as in
   * transformers from version 5 on, which is noted; without either there are 2.
   */
  classes(): { readonly count: number; readonly names: ReadonlyMap<number, string> } {
    const value = this.get('id2label', {});
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      this.fail('id2label', `must map class numbers to names, found ${show(value)}`);
    const entries = Object.entries(value);
    if (entries.length > MAX_CLASSES)
      this.fail('id2label', `must have at most ${MAX_CLASSES} entries, found ${entries.length}`);
    const count = this.size('num_labels', entries.length || 2);
    if (entries.length > 0 && count !== entries.length) {
      this.note(
        'num_labels',
        `is ${count}, and "id2label" names ${entries.length} classes; there are ${count}, without names, as transformers 5 reads it`,
      );
      return { count, names: new Map() };
    }
    const names = new Map<number, string>();
    for (const [key, name] of entries) {
      if (!/^(0|[1-9][0-9]*)$/.test(key) || !['string', 'number', 'boolean'].includes(typeof name))
        this.fail('id2label', `must map class numbers to names, found ${show(key)}: ${show(name)}`);
      if (Number(key) < count) names.set(Number(key), String(name));
      else this.note('id2label', `names a class ${key}, and there are ${count}, numbered from 0`);
    }
    return { count, names };
  }

  /** Keeps what somebody who reads results of this model should know. @param what goes on after the key */
  note(key: string, what: string): void {
    const note = `${this.where}: "${this.path}${key}" ${what}.`;
    if (!this.notes.includes(note)) this.notes.push(note);
  }

  fail(key: string, problem: string): never {
    throw new UserError(`${this.where}: "${this.path}${key}" ${problem}.`);
  }

  private get(key: string, fallback?: unknown): unknown {
    const value = this.values[key] ?? fallback;
    if (value === undefined) throw new UserError(`${this.where}: "${this.path}${key}" is missing.`);
    return value;
  }
}

const isSize = (value: unknown, most: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most;
