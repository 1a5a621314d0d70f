/** The options of calibration methods on the command line, made from what each method declares. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { messageOf, UserError } from '../errors.js';
import type { AnyMethod } from '../methods/method.js';
import { modelFolder } from '../hub/cache.js';
import { kebab, listOptions, type MethodOption } from '../methods/options.js';
import { methodNamed, methods } from '../methods/registry.js';
import { usualMethodFor } from '../methods/usual.js';
import type { Mode } from '../protocol/protocol.js';

/**
 * The method of a line of `calibrate`: the one that it names, or else the usual one of its model for its mode, recipe and options.
 * Undefined where that cannot be seen for a fault of the line, which whoever parses it refuses. Throws UserError for a model
 * that cannot be read, unless help is asked for.
 * @param common the options of a calibration by any method
 */
export async function methodOfArguments(
  common: readonly Option[],
  args: readonly string[],
): Promise<AnyMethod | undefined> {
  const line = readLine(common, args);
  if (!line) return undefined;
  if (line.method !== undefined) return methods.find(({ name }) => name === line.method);
  if (line.model === undefined) return undefined;
  try {
    return await usualMethodFor(modelFolder(line.model), line);
  } catch (error) {
    if (line.help) return undefined;
    throw error;
  }
}

interface Line {
  readonly model: string | undefined;
  readonly method?: string;
  readonly mode?: Mode;
  readonly recipe?: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly help?: boolean;
}

/** A line before it is known which options it can have; undefined where it has some that no method has. */
function readLine(common: readonly Option[], args: readonly string[]): Line | undefined {
  const command = new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .helpOption(false)
    .option('-h, --help');
  const own = new Set(methods.flatMap(({ options }) => Object.keys(options)));
  const flags = [
    ...common.map((option) => option.flags),
    '--recipe <name>',
    ...[...own].map((key) => `--${kebab(key)} <value>`),
  ];
  for (const flag of new Set(flags)) command.option(flag);
  try {
    const { operands, unknown } = command.parseOptions([...args]);
    if (unknown.length > 0) return undefined;
    const typed = command.opts<Record<string, unknown>>();
    const options = Object.fromEntries(Object.entries(typed).filter(([key]) => own.has(key)));
    return { ...typed, options, model: operands[0] };
  } catch (error) {
    if (error instanceof CommanderError) return undefined;
    throw error;
  }
}

export const methodOption = (): Option =>
  new Option(
    '--method <name>',
    `how to calibrate (default: the model's usual one); --help after it, or after the model, lists its own options (${methods.map(({ name, words }) => `${name}: ${words.description}`).join('; ')})`,
  ).argParser((name: string) => {
    try {
      return methodNamed(name).name;
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  });

/** Adds the recipes and options of a method; those of others are refused by what they say. Of all methods where none is known. */
export function addMethodOptions(command: Command, method: AnyMethod | undefined): Command {
  const recipe = new Option('--recipe <name>', 'settings to start from');
  command.addOption(
    method
      ? recipe.choices(method.recipes).default(method.recipes[0])
      : recipe.choices([...new Set(methods.flatMap(({ recipes }) => recipes))]),
  );
  command.addHelpText(
    'after',
    method
      ? `\nOptions after --recipe's are those of the method: ${method.words.title}, ${method.words.description}.`
      : "\nOptions after --recipe's are those of all methods; --method <name> --help lists which a method has.",
  );
  const own = method ? listOptions(method.options) : [];
  for (const [key, option] of own) command.addOption(optionOf(key, option));
  const others = new Map(methods.flatMap(({ options }) => listOptions(options)));
  for (const [key, option] of others) {
    if (method && Object.hasOwn(method.options, key)) continue;
    command.addOption(method ? refusedOption(key, option, method) : optionOf(key, option));
  }
  return command;
}

const flagsOf = (key: string, { choices, value }: MethodOption<unknown>): string =>
  `--${kebab(key)} <${choices ? 'name' : value}>`;

function optionOf(key: string, option: MethodOption<unknown>): Option {
  const { help, standard, choices, parse } = option;
  const text = standard === undefined ? help : `${help} (default: ${standard})`;
  const own = new Option(flagsOf(key, option), text);
  if (choices) return own.choices(choices);
  return own.argParser((typed: string) => {
    try {
      return parse(typed);
    } catch (error) {
      if (error instanceof UserError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  });
}

function refusedOption(key: string, option: MethodOption<unknown>, method: AnyMethod): Option {
  const having = methods.filter(({ options }) => Object.hasOwn(options, key)).map(({ name }) => name);
  return new Option(flagsOf(key, option)).hideHelp().argParser(() => {
    throw new InvalidArgumentError(
      `The method "${method.name}" has no such option; --method ${having.join(' or ')} has it.`,
    );
  });
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
