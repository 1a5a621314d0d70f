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
  ) {}

  /** Whether the key is there and not null. */
  has(key: string): boolean {
    return (this.values[key] ?? undefined) !== undefined;
  }

  /** A positive integer, at most `most`. */
  size(key: string, fallback?: number, most = MAX_SIZE): number {
    const value = this.get(key, fallback);
    if (!isSize(value, most)) this.fail(key, `must be an integer from 1 to ${most}, found ${show(value)}`);
    return value;
  }

  /** A positive integer, or undefined where the key is null; `fallback` where it is absent. */
  optionalSize(key: string, fallback?: number, most = MAX_SIZE): number | undefined {
    if (!this.has(key)) return key in this.values ? undefined : fallback;
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

  oneOf(key: string, allowed: readonly string[], fallback?: string): string {
    const value = this.get(key, fallback);
    if (typeof value !== 'string' || !allowed.includes(value))
      this.fail(key, `is ${show(value)}; supported: ${allowed.join(', ')}`);
    return value;
  }

  /** The object under a key, its own keys named `key.inner` in errors; undefined where there is none. */
  section(key: string): ModelConfig | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    if (typeof value !== 'object' || Array.isArray(value))
      this.fail(key, `must be an object, found ${show(value)}`);
    return new ModelConfig(value as Record<string, unknown>, this.where, `${this.path}${key}.`);
  }

  /** Class numbers and names of `id2label`; empty where there is none. */
  classNames(): ReadonlyMap<number, string> {
    const value = this.get('id2label', {});
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      this.fail('id2label', `must map class numbers to names, found ${show(value)}`);
    const entries = Object.entries(value);
    if (entries.length > MAX_CLASSES)
      this.fail('id2label', `must have at most ${MAX_CLASSES} entries, found ${entries.length}`);
    const names = new Map<number, string>();
    for (const [key, name] of entries) {
      if (!/^(0|[1-9][0-9]*)$/.test(key) || Number(key) >= entries.length || typeof name !== 'string')
        this.fail(
          'id2label',
          `must map the numbers from 0 to ${entries.length - 1} to names, found ${show(key)}: ${show(name)}`,
        );
      names.set(Number(key), name);
    }
    return names;
  }

  /** The number of classes: of `id2label`, else `num_labels`, else 2 as the format's default has it. */
  classCount(): number {
    const named = this.classNames().size;
    return named > 0 ? named : this.size('num_labels', 2);
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
