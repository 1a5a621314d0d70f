/** The options of calibration methods on the command line, made from what each method declares. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { messageOf, UserError } from '../errors.js';
import type { AnyMethod } from '../methods/method.js';
import { kebab, listOptions } from '../methods/options.js';
import { methodNamed, methods } from '../methods/registry.js';

/**
 * The method that arguments name with `--method`, or the default one: its options must be known before they are read.
 * The default one too for a name that no method has, which the option itself refuses.
 */
export function methodOfArguments(args: readonly string[]): AnyMethod {
  const at = args.findIndex((arg) => arg === '--method' || arg.startsWith('--method='));
  if (at < 0) return methods[0]!;
  const name = args[at]!.includes('=') ? args[at]!.slice('--method='.length) : args[at + 1];
  return methods.find((method) => method.name === name) ?? methods[0]!;
}

export const methodOption = (): Option =>
  new Option(
    '--method <name>',
    `how to calibrate; --help after it lists its own options (${methods.map(({ name, words }) => `${name}: ${words.description}`).join('; ')})`,
  )
    .default(methods[0]!.name)
    .argParser((name: string) => {
      try {
        return methodNamed(name).name;
      } catch (error) {
        throw new InvalidArgumentError(messageOf(error));
      }
    });

export function addMethodOptions(command: Command, { options, words }: AnyMethod): Command {
  command.addHelpText(
    'after',
    `\nOptions after --recipe's are those of the method: ${words.title}, ${words.description}.`,
  );
  for (const [key, option] of listOptions(options)) {
    const { value, help, standard, choices, parse } = option;
    const text = standard === undefined ? help : `${help} (default: ${standard})`;
    const own = new Option(`--${kebab(key)} <${choices ? 'name' : value}>`, text);
    if (choices) own.choices(choices);
    else
      own.argParser((typed: string) => {
        try {
          return parse(typed);
        } catch (error) {
          if (error instanceof UserError) throw new InvalidArgumentError(error.message);
          throw error;
        }
      });
    command.addOption(own);
  }
  return command;
}

/** What was typed, the method's own options apart from the others. */
export function splitOptions<T extends object>(
  typed: T,
  { options }: AnyMethod,
): { readonly common: T; readonly own: Readonly<Record<string, unknown>> } {
  const entries = Object.entries(typed);
  const isOwn = ([key]: readonly [string, unknown]) => Object.hasOwn(options, key);
  return {
    common: Object.fromEntries(entries.filter((entry) => !isOwn(entry))) as T,
    own: Object.fromEntries(entries.filter(isOwn)),
  };
}
