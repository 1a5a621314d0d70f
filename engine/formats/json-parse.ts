import { UserError } from '../errors.js';
import { show } from './paths.js';

/** What JSON text can hold. Objects have no prototype, so no key can reach one. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const MAX_NUMBER_LENGTH = 400;
const MAX_DEPTH = 100;
/** Values and keys of one text, where an object counts as four and a list as two: as they take memory, up to 100 MB. */
const MAX_VALUES = 1 << 20;
const WORDS: readonly [string, JsonValue][] = [
  ['true', true],
  ['false', false],
  ['null', null],
];
const PYTHON_WORDS: readonly [string, JsonValue][] = [
  ...WORDS,
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
];

/**
 * Parses RFC 8259 JSON and refuses what `JSON.parse` lets pass: a key twice in one object, the key
 * `__proto__`, numbers beyond float64, nesting deeper than 100, and more values than `MAX_VALUES`. Every error is a
 * `UserError` that starts with `where` and ends with line and column.
 * @param options.python takes what Python writes and reads beside it: NaN, Infinity, -Infinity, numbers beyond float64
 *   as these, and a key twice, of which the last counts
 */
export function parseJsonStrict(
  text: string,
  where: string,
  { python = false }: { readonly python?: boolean } = {},
): JsonValue {
  let at = 0;
  let values = 0;

  function fail(problem: string): UserError {
    let line = 1;
    for (let end = text.indexOf('\n'); end >= 0 && end < at; end = text.indexOf('\n', end + 1)) line++;
    const stop = Math.min(at, text.length);
    const column = stop - (stop === 0 ? 0 : text.lastIndexOf('\n', stop - 1) + 1) + 1;
    return new UserError(`${where}: ${problem} at line ${line}, column ${column}.`);
  }

  function unexpected(): UserError {
    return fail(at < text.length ? `unexpected ${show(text[at])} in the JSON` : 'the JSON ends too early');
  }

  function skipSpace(): void {
    for (; ; at++) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }

  /** Consumes `character` after any space, or leaves the text alone and says no. */
  function accept(character: string): boolean {
    skipSpace();
    if (text[at] !== character) return false;
    at++;
    return true;
  }

  function parseString(): string {
    const start = at++;
    let escaped = false;
    for (;;) {
      const code = text.charCodeAt(at);
      if (!(code >= 0x20)) throw unexpected();
      at++;
      if (code === 0x22) break;
      if (code === 0x5c) {
        escaped = true;
        at++;
      }
    }
    if (!escaped) return text.slice(start + 1, at - 1);
    try {
      return JSON.parse(text.slice(start, at)) as string;
    } catch {
      at = start;
      throw fail('invalid escape in the string');
    }
  }

  function parseNumber(): number {
    const start = at;
    while (at < text.length && '+-.0123456789eE'.includes(text.charAt(at))) at++;
    const digits = text.slice(start, at);
    const value = digits.length <= MAX_NUMBER_LENGTH && NUMBER.test(digits) ? Number(digits) : NaN;
    if (Number.isFinite(value) || (python && !Number.isNaN(value))) return value;
    at = start;
    throw digits === '' ? unexpected() : fail(`invalid number ${show(digits, 24)}`);
  }

  function parseArray(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    if (accept(']')) return items;
    do items.push(parseValue(depth));
    while (accept(','));
    if (!accept(']')) throw unexpected();
    return items;
  }

  function parseObject(depth: number): JsonObject {
    const object = Object.create(null) as Record<string, JsonValue>;
    if (accept('}')) return object;
    do {
      skipSpace();
      if (text[at] !== '"') throw unexpected();
      const start = at;
      values++;
      const key = parseString();
      const problem =
        key === '__proto__' ? 'is not allowed' : !python && key in object ? 'appears twice' : undefined;
      if (problem) {
        at = start;
        throw fail(`the key ${show(key)} ${problem}`);
      }
      if (!accept(':')) throw unexpected();
      object[key] = parseValue(depth);
    } while (accept(','));
    if (!accept('}')) throw unexpected();
    return object;
  }

  function parseValue(depth: number): JsonValue {
    skipSpace();
    values += text[at] === '{' ? 4 : text[at] === '[' ? 2 : 1;
    if (values > MAX_VALUES) throw fail('the JSON has more values than are supported,');
    if (depth > MAX_DEPTH) throw fail(`the JSON is nested deeper than ${MAX_DEPTH}`);
    if (text[at] === '"') return parseString();
    if (accept('{')) return parseObject(depth + 1);
    if (accept('[')) return parseArray(depth + 1);
    for (const [word, value] of python ? PYTHON_WORDS : WORDS) {
      if (!text.startsWith(word, at)) continue;
      at += word.length;
      return value;
    }
    return parseNumber();
  }

  const value = parseValue(0);
  skipSpace();
  if (at < text.length) throw unexpected();
  return value;
}
