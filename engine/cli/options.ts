/** Options that commands share, and what is read of what is typed behind one. */
import { Argument, InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../errors.js';
import { modelFolder } from '../hub/cache.js';
import { methods } from '../methods/registry.js';
import { MAX_BITS, MIN_BITS } from '../plans/bits.js';
import { parseBytes, parseWidths } from './format.js';

/** Turns a parser's UserError into bad usage. */
export const parsed =
  <T>(parse: (text: string) => T) =>
  (text: string): T => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
export const whole = (least: number) => (text: string) => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > Number.MAX_SAFE_INTEGER)
    throw new InvalidArgumentError(`It must be a whole number from ${least}.`);
  return value;
};
export const fraction = (text: string) => {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0))
    throw new InvalidArgumentError('It must be a number that is not negative.');
  return value;
};
/** `fp` is always evaluated; what is left are bit-widths. */
export const evaluatedBits = (text: string) => {
  const rest = text.split(',').filter((item) => item.trim() !== 'fp');
  return rest.length > 0 ? parseWidths(rest.join()) : [];
};
export const task = (text: string) => {
  const tasks = {
    perplexity: 'perplexity',
    choice: 'multiple-choice',
    'multiple-choice': 'multiple-choice',
  } as const;
  if (Object.hasOwn(tasks, text)) return tasks[text as keyof typeof tasks];
  throw new InvalidArgumentError('Tasks are: perplexity, choice.');
};
export const width = (text: string) => {
  const bits = text.trim() === '' ? NaN : Number(text);
  if (!(bits >= MIN_BITS && bits <= MAX_BITS))
    throw new InvalidArgumentError(`Bits must be a number from ${MIN_BITS} to ${MAX_BITS}.`);
  return bits;
};
/** As in `**.output.dense=8`, once or more often. */
export const fix = (text: string, before: [string, number][] = []): [string, number][] => {
  const at = text.lastIndexOf('=');
  if (at < 1)
    throw new InvalidArgumentError('It must be a layer or glob and its bits, such as "**.dense=8".');
  return [...before, [text.slice(0, at), width(text.slice(at + 1))]];
};
export const COMPARED = methods.filter((one) => one.baselines).map((one) => one.name);
/** As in `rounding,gptq`; `rtn` (round to nearest) is another name of the first. */
export const baselines = (text: string) =>
  text.split(',').map((item) => {
    const name = item.trim() === 'rtn' ? 'rounding' : item.trim();
    if (!COMPARED.includes(name)) throw new InvalidArgumentError(`Baselines are: ${COMPARED.join(', ')}.`);
    return name;
  });

/** Becomes the folder that it names. */
export const model = (text: string) => modelFolder(text);
export const modelArgument = () =>
  new Argument('<model>', 'checkpoint folder, or org/name of the hub').argParser(model);
export const yes = () => new Option('-y, --yes', 'begin work of more than an hour without asking');
export const json = () => new Option('--json', 'print one line of JSON on stdout');
export const device = () =>
  new Option('--device <name>', 'where to run').choices(['auto', 'cpu', 'webgpu', 'cuda']).default('auto');
export const length = () =>
  new Option(
    '--length <tokens>',
    "tokens of a window of text (default: the model's context, at most 2048)",
  ).argParser(whole(2));
export const modeOption = () =>
  new Option('--mode <mode>', "what is quantized (default: the method's usual one for the model)").choices([
    'weight-activation',
    'weight-only',
  ]);
export const bitsOption = () =>
  new Option(
    '--bits <list>',
    'bit-widths, such as 4-8 or 2,4,8 (default: 4-8; 2-8 for weights alone)',
  ).argParser(parsed(parseWidths));
export const samplesOption = () =>
  new Option(
    '--samples <n>',
    "pictures, or windows of text, to calibrate on (default: the method's)",
  ).argParser(whole(1));
export const samplesMeasured = () =>
  new Option('--samples <n>', 'pictures, or windows of text (default: 128, or 32)').argParser(whole(1));
export const batchMeasured = () =>
  new Option('--batch <n>', 'samples that run at once (default: 32, or 2)').argParser(whole(1));
export const cacheMemory = () =>
  new Option(
    '--cache-memory <size>',
    'memory for activations, such as 4GB; the others go to a file (default: half of what is free)',
  ).argParser(parsed(parseBytes));
export const threads = () =>
  new Option('--threads <n>', 'CPU threads (default: one per physical core)').argParser(whole(1));
