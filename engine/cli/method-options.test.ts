import { Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import type { AnyMethod } from '../methods/method.js';
import { choice, onOrOff, realNumber, wholeNumber, wholeNumbers } from '../methods/options.js';
import { methods } from '../methods/registry.js';
import { addMethodOptions, methodOfArguments, methodOption, splitOptions } from './method-options.js';

const method = {
  name: 'sorted',
  words: { title: 'Sorted', description: 'sorts before it rounds' },
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
      common: { out: 'x' },
      own: { rank: [16, 32], groupSize: 64, damping: 0.5, order: 'largest', guard: 'off' },
    });
    expect(splitOptions(typed('--rank', '8'), method)).toEqual({ common: {}, own: { rank: 8 } });
  });

  it('are absent where they were not typed, whatever their default', () => {
    expect(splitOptions(typed('--out', 'x'), method)).toEqual({ common: { out: 'x' }, own: {} });
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
  });
});

describe('the method of a command line', () => {
  it.each([
    [['calibrate', 'model']],
    [['calibrate', 'model', '--method']],
    [['calibrate', 'model', '--method', 'magic']],
    [['calibrate', 'model', '--method=magic']],
  ])('is the default one for %j', (args) => {
    expect(methodOfArguments(args)).toBe(methods[0]);
  });

  it('is the one that is named', () => {
    for (const one of methods) {
      expect(methodOfArguments(['calibrate', '--method', one.name, 'model'])).toBe(one);
      expect(methodOfArguments(['calibrate', `--method=${one.name}`])).toBe(one);
    }
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
