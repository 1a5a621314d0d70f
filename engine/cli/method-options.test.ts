import { Command, CommanderError, Option } from 'commander';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, TINY_VIT, writeRandomModel } from '../../test/fixtures.js';
import type { AnyMethod } from '../methods/method.js';
import { choice, onOrOff, realNumber, wholeNumber, wholeNumbers } from '../methods/options.js';
import { methods } from '../methods/registry.js';
import { addMethodOptions, methodOfArguments, methodOption, splitOptions } from './method-options.js';

const method = {
  name: 'sorted',
  words: { title: 'Sorted', description: 'sorts before it rounds' },
  recipes: ['default'],
  options: {
    rank: wholeNumbers({ help: 'directions', standard: '16' }, 0),
    groupSize: wholeNumber({ help: 'columns of a group' }, 1, 512),
    damping: realNumber({ help: 'share of the diagonal' }, 0, 1),
    order: choice({ help: 'order of columns' }, 'given', 'largest'),
    guard: onOrOff({ help: 'whether it looks back', standard: 'on' }),
  },
} as unknown as AnyMethod;

function command(): Command {
  const command = new Command('calibrate')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, writeOut: () => undefined })
    .option('--out <folder>', 'where to');
  return addMethodOptions(command, method);
}
const typed = (...args: string[]) => command().parse(args, { from: 'user' }).opts();

describe('the options of a method on the command line', () => {
  it('come as the request carries them, apart from those of every calibration', () => {
    const all = ['--out', 'x', '--rank', '16,32', '--group-size', '64', '--damping', '0.5', '--order', 'largest', '--guard', 'off']; // prettier-ignore
    expect(splitOptions(typed(...all), method)).toEqual({
      common: { out: 'x', recipe: 'default' },
      own: { rank: [16, 32], groupSize: 64, damping: 0.5, order: 'largest', guard: 'off' },
    });
    expect(splitOptions(typed('--rank', '8'), method)).toEqual({
      common: { recipe: 'default' },
      own: { rank: 8 },
    });
  });

  it('are absent where they were not typed, whatever their default', () => {
    expect(splitOptions(typed('--out', 'x'), method)).toEqual({
      common: { out: 'x', recipe: 'default' },
      own: {},
    });
  });

  it.each([
    ['--group-size', '0', 'from 1 to 512'],
    ['--group-size', '513', 'from 1 to 512'],
    ['--group-size', '1.5', 'from 1 to 512'],
    ['--group-size', '1e2', 'from 1 to 512'],
    ['--damping', '2', 'from 0 to 1'],
    ['--damping', ' ', 'from 0 to 1'],
    ['--damping', 'NaN', 'from 0 to 1'],
    ['--rank', '1,x', 'at least 0'],
    ['--rank', '', 'at least 0'],
    ['--order', 'random', 'given, largest'],
    ['--guard', 'yes', 'on, off'],
  ])('refuse %s %j, and say what they take', (option, value, message) => {
    const parse = () => typed(option, value);
    expect(parse).toThrow(CommanderError);
    expect(parse).toThrow(option);
    expect(parse).toThrow(message);
  });

  it('are in the help with their values and defaults', () => {
    let help = '';
    command()
      .configureOutput({ writeOut: (text) => (help += text) })
      .outputHelp();
    expect(help).toMatch(/--rank <n> +directions \(default: 16\)/);
    expect(help).toMatch(/--group-size <n> +columns of a group\n/);
    expect(help).toMatch(/--order <name> +order of columns \(choices: "given", "largest"\)/);
    expect(help).toContain('Sorted, sorts before it rounds');
    expect(help).not.toContain('--epochs');
  });

  it('that another method has are refused, and say which', () => {
    expect(() => typed('--epochs', '3')).toThrow(CommanderError);
    expect(() => typed('--epochs', '3')).toThrow(
      /The method "sorted" has no such option; --method quept\b.* has it\./,
    );
  });

  it('are those of all methods where none is known yet, for help', () => {
    let help = '';
    addMethodOptions(new Command('calibrate'), undefined)
      .configureOutput({ writeOut: (text) => (help += text) })
      .outputHelp();
    for (const name of ['--epochs', '--effort', '--group-size', '"paper"']) expect(help).toContain(name);
  });
});

describe('the method of a command line', () => {
  let folder: string;
  let cleanUp: () => Promise<void>;
  let vit: string;
  let llama: string;
  beforeAll(async () => {
    ({ folder, cleanUp } = await temporaryFolder());
    [vit, llama] = [join(folder, 'vit'), join(folder, 'llama')];
    await writeRandomModel(vit, TINY_VIT);
    await writeRandomModel(llama, TINY_LLAMA);
  });
  afterAll(() => cleanUp());

  const common = [new Option('--mode <mode>'), new Option('--method <name>'), new Option('--json')];
  const found = async (...args: string[]) => (await methodOfArguments(common, args))?.name;

  it('is the usual one of the model for the mode, the recipe and the options, wherever these stand', async () => {
    expect(await found(vit)).toBe('quept');
    expect(await found('--json', llama)).toBe('direct');
    expect(await found('--group-size', '64', llama)).toBe('direct');
    expect(await found(llama, '--recipe', 'paper')).toBe('quept');
    expect(await found(llama, '--help')).toBe('direct');
    expect(await found('--mode=weight-only', vit)).toBe('direct');
    expect(await found('--epochs', '2', llama, '--rank=2')).toBe('quept');
    expect(await found('--backend', 'spqr', llama)).toBe('oac');
    expect(await found('--epochs', '2', '--effort', 'quick', llama)).toBe('direct');
  });

  it('is the one that is named, whatever the model', async () => {
    for (const { name } of methods) {
      expect(await found('nowhere', '--method', name)).toBe(name);
      expect(await found(`--method=${name}`)).toBe(name);
    }
  });

  it.each([[[]], [['--help']], [['--method']], [['--method', 'magic']], [['--surprise', '3', 'nowhere']]])(
    'is left to who parses the line for %j',
    async (args) => {
      expect(await found(...args)).toBeUndefined();
    },
  );

  it('asks for a model that can be read, unless help is wanted', async () => {
    await expect(found('nowhere')).rejects.toThrow(/nowhere/);
    expect(await found('nowhere', '--help')).toBeUndefined();
  });

  it('is refused where there is none of that name, and the others are listed', () => {
    const parse = (name: string) =>
      new Command()
        .exitOverride()
        .configureOutput({ writeErr: () => undefined })
        .addOption(methodOption())
        .parse(['--method', name], { from: 'user' })
        .opts();
    for (const { name } of methods) expect(parse(name)).toEqual({ method: name });
    expect(() => parse('magic')).toThrow(CommanderError);
    expect(() => parse('magic')).toThrow('There is no calibration method "magic"; there are quept');
  });
});

/** What a person types and what a request carries say the same of each method's options. */
describe.each(methods.map((one) => [one.name, one] as const))('%s', (_, { options }) => {
  it('has no option of a name that every calibration has', () => {
    const common = ['model', 'data', 'out', 'resume', 'method', 'options', 'recipe', 'mode', 'bits', 'length', 'samples', 'seed', 'cacheMemory', 'device', 'threads', 'json']; // prettier-ignore
    expect(Object.keys(options).filter((key) => common.includes(key))).toEqual([]);
  });
});
