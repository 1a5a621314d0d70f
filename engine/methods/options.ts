/** The options of a method: one declaration each, from which parsing, help and documents are made. */
import { UserError } from '../errors.js';
import {
  either,
  integer,
  list,
  number,
  oneOf,
  optional,
  readFields,
  type Field,
  type Fields,
} from '../formats/json-fields.js';

/** One option, as a request carries it and as a person types it. */
export interface MethodOption<T> {
  readonly field: Field<T>;
  /** What is typed, such as `n`; for a choice its values. */
  readonly value: string;
  readonly choices?: readonly string[];
  /** One line, without the default. */
  readonly help: string;
  /** As text, where it is one; recipes may set others. */
  readonly standard?: string;
  /** From what was typed. Throws UserError. */
  readonly parse: (text: string) => T;
}

/** Every option of `O`, by its key in requests; typed in kebab case. */
export type MethodOptions<O> = { readonly [K in keyof O]-?: MethodOption<NonNullable<O[K]>> };

type Words = Pick<MethodOption<unknown>, 'help' | 'standard'>;

export const wholeNumber = (
  words: Words,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): MethodOption<number> => ({
  ...words,
  value: 'n',
  field: integer(min, max),
  parse: (text) => {
    const found = Number(text);
    if (!/^\d+$/.test(text) || found < min || found > max)
      throw new UserError(
        max === Number.MAX_SAFE_INTEGER
          ? `Must be an integer of at least ${min}.`
          : `Must be an integer from ${min} to ${max}.`,
      );
    return found;
  },
});

export const realNumber = (words: Words, min: number, max?: number): MethodOption<number> => ({
  ...words,
  value: 'x',
  field: number(min, max),
  parse: (text) => {
    const found = Number(text);
    if (text.trim() === '' || !(found >= min && found <= (max ?? Infinity)))
      throw new UserError(max === undefined ? `Must be at least ${min}.` : `Must be from ${min} to ${max}.`);
    return found;
  },
});

export const choice = <const T extends string>(words: Words, ...choices: readonly T[]): MethodOption<T> => ({
  ...words,
  value: choices.join('|'),
  choices,
  field: oneOf(...choices),
  parse: (text) => {
    const found = choices.find((one) => one === text);
    if (found === undefined) throw new UserError(`Must be one of ${choices.join(', ')}.`);
    return found;
  },
});

export const onOrOff = (words: Words): MethodOption<'on' | 'off'> => choice(words, 'on', 'off');

/** A number, or a list of them: `16` or `16,32,48`. */
export const wholeNumbers = (words: Words, min: number): MethodOption<number | readonly number[]> =>
  oneOrMore(wholeNumber(words, min), integer(min));

/** A number, or a list of them: `2.3` or `2.3,2.1`. */
export const realNumbers = (
  words: Words,
  min: number,
  max: number,
): MethodOption<number | readonly number[]> => oneOrMore(realNumber(words, min, max), number(min, max));

const oneOrMore = (
  one: MethodOption<number>,
  field: Field<number>,
): MethodOption<number | readonly number[]> => ({
  ...one,
  field: either(field, list(field, 1)),
  parse: (text) => {
    const found = text.split(',').map(one.parse);
    return found.length === 1 ? found[0]! : found;
  },
});

/** The options of a method, by their keys. */
export const listOptions = (options: object): [string, MethodOption<unknown>][] =>
  Object.entries(options as Readonly<Record<string, MethodOption<unknown>>>);

/** Readers of a request's options; each may be absent, and others are refused. */
export function readOptions<O extends object>(
  options: MethodOptions<O>,
  value: unknown,
  where: string,
): Partial<O> {
  const fields = Object.fromEntries(
    listOptions(options).map(([key, { field }]) => [key, optional(field)]),
  ) as Fields<Partial<O>>;
  return readFields(value, fields, where);
}

/** Throws UserError for an option that would have no effect. @param reason such as "image classifiers have no cache" */
export function refuseOption(given: object, key: string, reason: string): void {
  if (Object.hasOwn(given, key))
    throw new UserError(`The option --${kebab(key)} would have no effect: ${reason}.`);
}

/** `clipStart` as `clip-start`. */
export const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
