/** What a person chooses before a calibration, and the request it comes to. Knows no editor. */
import { basename, dirname, join } from 'node:path';
import type {
  CalibrateRequest,
  DeviceChoice,
  EstimateRequest,
  MethodModeReport,
  MethodOptionReport,
  MethodReport,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { nameProblem, type NameProblem } from '../../engine/plans/names.js';
import { formatBits } from '../common/format.js';
import { contains } from '../common/paths.js';
import { modelName } from '../models/names.js';

export type Mode = NonNullable<CalibrateRequest['mode']>;
export type Task = SupportedModel['task'];

/** How long to calibrate, and on how much; epochs where the method has some. */
export type Length =
  | { readonly kind: 'standard' | 'short' | 'paper' }
  | { readonly kind: 'custom'; readonly samples: number; readonly epochs?: number };

/** What has been answered so far. Later answers may be of another model or method than the earlier ones. */
export interface Answers {
  readonly model?: SupportedModel;
  /** Those that fit the model, the usual one first. */
  readonly methods?: readonly MethodReport[];
  /** By its name. */
  readonly method?: string;
  readonly mode?: Mode;
  readonly bits?: readonly number[];
  /** Absolute path of the calibration set. */
  readonly data?: string;
  readonly device?: DeviceChoice;
  readonly length?: Length;
  /** The method's own, by name. */
  readonly options?: MethodValues;
  /** The folder of the adapter set to be made. */
  readonly out?: string;
}

export type MethodValue = string | number | readonly number[];
export type MethodValues = Readonly<Record<string, MethodValue>>;

/** Answers that belong together. */
export interface Choices {
  readonly model: SupportedModel;
  readonly method: MethodReport;
  readonly mode: MethodModeReport;
  readonly bits: readonly number[];
  /** Left out where the method needs no samples. */
  readonly data?: string;
  readonly device: DeviceChoice;
  readonly length: Length;
  readonly options: MethodValues;
}

/** What was answered, or else what is usual, which stands first: only the data has to be asked for. */
export function choicesOf(answers: Answers): Choices {
  const { method, mode } = methodOf(answers);
  const { data, length = STANDARD, options = {} } = answers;
  return {
    model: answers.model!,
    method,
    mode,
    bits: answers.bits ?? mode.bits,
    ...(data !== undefined && mode.samples > 0 && { data }),
    device: answers.device ?? 'auto',
    length: lengthsOf(method, mode).includes(length.kind) ? length : STANDARD,
    options,
  };
}

/** The method and mode that the answers come to. */
export function methodOf({ methods, method: name, mode }: Answers): Pick<Choices, 'method' | 'mode'> {
  const method = methods!.find((one) => one.name === name) ?? methods![0]!;
  return { method, mode: method.modes.find((one) => one.mode === mode) ?? method.modes[0]! };
}

/** What people choose a method by: what it takes, and what they get. */
export type Way = 'learned' | 'computed' | 'extreme' | 'dataless';

/** A method to choose, and what goes with it. */
export interface MethodChoice {
  readonly way: Way;
  readonly method: MethodReport;
  /** Where it is other than the method's usual: bit-widths or averages, and options. */
  readonly bits?: readonly number[];
  readonly options?: MethodValues;
}

/** At most so many bits are extreme. */
const EXTREME_BITS = 2;

/** All methods by the ways that they go, those of a way together, the usual method's way first; once more for what they do best at extreme bits. */
export function methodChoices(methods: readonly MethodReport[]): MethodChoice[] {
  const usual = methods.map((method): MethodChoice => ({ way: wayOf(method), method }));
  const extreme = methods.flatMap((method) =>
    method.extremes.map((own): MethodChoice => ({ way: 'extreme', method, ...own })),
  );
  const all = [...usual, ...extreme];
  const ways = new Set(
    [...usual.filter(({ way }) => way !== 'dataless'), ...extreme, ...usual].map(({ way }) => way),
  );
  return [...ways].flatMap((way) => all.filter((choice) => choice.way === way));
}

function wayOf(method: MethodReport): Way {
  if (method.modes[0]!.samples === 0) return 'dataless';
  return hasEpochs(method) ? 'learned' : 'computed';
}

/** What choosing a method changes: options are its own, and bit-widths that it does not have are none of it. */
export function chosenMethod(
  answers: Answers,
  { method, bits, options = {} }: MethodChoice,
): Partial<Answers> {
  const { mode } = methodOf({ ...answers, method: method.name });
  const { bits: before } = answers;
  const isExtreme = before !== undefined && Math.max(...before) <= EXTREME_BITS;
  const isKept = before?.every((width) => !isExtreme && mode.allowed.includes(width)) ?? true;
  const widths = bits ?? (isKept ? undefined : mode.bits);
  if (method.name === answers.method && widths === undefined) return {};
  return {
    method: method.name,
    options,
    ...(widths && { bits: widths }),
  };
}

/** Whether nobody has chosen another method than the engine takes by itself. */
export const isUsual = (answers: Answers): boolean => methodOf(answers).method === answers.methods![0];

const STANDARD: Length = { kind: 'standard' };

/** Lengths to choose from, the usual one first. */
export function lengthsOf(method: MethodReport, { samples }: MethodModeReport): Length['kind'][] {
  const amounts = samples > 0;
  return [
    'standard',
    ...(amounts ? (['short'] as const) : []),
    ...(method.recipes.includes('paper') ? (['paper'] as const) : []),
    ...(amounts ? (['custom'] as const) : []),
  ];
}

export const hasEpochs = ({ options }: MethodReport): boolean =>
  options.some(({ name }) => name === 'epochs');

/** Samples that are enough to see every step of the way; the figures are not those of a calibration worth keeping. */
const SHORT: Readonly<Record<string, number>> = { 'image-classification': 128, 'text-generation': 16 };

/** What makes a method quick, where it has such an option. */
const SHORT_OPTIONS: MethodValues = { epochs: 2, effort: 'quick' };

/** What the settings say about any calibration; 0 leaves it to the engine. */
export interface Limits {
  readonly threads: number;
  /** Gigabytes. */
  readonly cacheMemory: number;
}

export const requestOf = (choices: Choices, limits: Limits, out: string): CalibrateRequest => ({
  ...estimateRequestOf(choices, limits),
  out,
});

/** What an estimate needs of a calibration. */
export function estimateRequestOf(choices: Choices, { threads, cacheMemory }: Limits): EstimateRequest {
  const { model, method, mode, bits, data, device } = choices;
  return {
    model: model.path,
    ...(data !== undefined && { data }),
    method: method.name,
    mode: mode.mode,
    bits,
    device,
    ...settingsOf(choices),
    ...(threads > 0 && { threads }),
    ...(cacheMemory > 0 && { cacheMemory: Math.round(cacheMemory * 1e9) }),
  };
}

/** The settings that a length stands for, and the method's options: those it was given go before the length's. */
function settingsOf({
  model,
  method,
  length,
  options,
}: Choices): Pick<CalibrateRequest, 'recipe' | 'samples' | 'options'> {
  const samples = samplesOf(length, model.task);
  const own = { ...lengthOptions(length, method), ...options };
  return {
    ...(length.kind === 'paper' && { recipe: 'paper' }),
    ...(samples !== undefined && { samples }),
    ...(Object.keys(own).length > 0 && { options: own }),
  };
}

function samplesOf(length: Length, task: Task): number | undefined {
  if (length.kind === 'short') return SHORT[task] ?? SHORT['text-generation'];
  return length.kind === 'custom' ? length.samples : undefined;
}

/** What a length sets of the options that the method has. */
function lengthOptions(length: Length, method: MethodReport): MethodValues {
  const custom = length.kind === 'custom' && length.epochs !== undefined ? { epochs: length.epochs } : {};
  return known(length.kind === 'short' ? SHORT_OPTIONS : custom, method);
}

/** Of some options those that the method has. */
const known = (given: MethodValues, { options }: Pick<MethodReport, 'options'>): MethodValues =>
  Object.fromEntries(Object.entries(given).filter(([key]) => options.some(({ name }) => name === key)));

/** Options that can be set by a line of text or a choice. Bit groups cannot: bit-widths are asked for. */
export const settableOptions = ({ options }: MethodReport): readonly MethodOptionReport[] =>
  options.filter(({ choices, value }) => choices !== undefined || value === 'n' || value === 'x');

/** An option's value from text; undefined where it is not of the option's kind. Its range the engine knows. */
export function parseOption({ choices, value }: MethodOptionReport, text: string): MethodValue | undefined {
  if (choices) return choices.includes(text) ? text : undefined;
  const parts = text.split(',').map((part) => part.trim());
  const kind = value === 'n' ? /^\d+$/ : /^(\d+\.?\d*|\.\d+)(e-?\d+)?$/i;
  if (!parts.every((part) => kind.test(part))) return undefined;
  const numbers = parts.map(Number);
  return numbers.length === 1 ? numbers[0] : numbers;
}

/** `options` with another value of one; `undefined` goes back to the standard. */
export function withOption(
  options: MethodValues,
  name: string,
  value: MethodValue | undefined,
): MethodValues {
  const { [name]: _, ...others } = options;
  return value === undefined ? others : { ...others, [name]: value };
}

/** Chosen last time, offered first the next. */
export interface Remembered {
  /** Absent in what was remembered before there were several. */
  readonly method?: string;
  readonly mode?: Mode;
  readonly bits?: readonly number[];
  /** Paths, the latest first. */
  readonly data?: readonly string[];
  readonly length?: Length;
}

const REMEMBERED_PATHS = 5;

export function remember(before: Remembered, { method, mode, bits, data, length }: Choices): Remembered {
  const others = (before.data ?? []).filter((path) => path !== data);
  const paths = data === undefined ? others : [data, ...others];
  return {
    method: method.name,
    mode: mode.mode,
    bits,
    length,
    data: paths.slice(0, REMEMBERED_PATHS),
  };
}

/** Bit-widths to begin with: those chosen last time for this method and mode, else its own. */
export const usualBits = (
  before: Remembered,
  method: MethodReport,
  mode: MethodModeReport,
): readonly number[] =>
  (before.method ?? ONLY_METHOD) === method.name && before.mode === mode.mode
    ? (before.bits ?? mode.bits)
    : mode.bits;

/** Whatever was remembered without a method was of this one. */
const ONLY_METHOD = 'quept';

/**
 * A name that is free: `elastic-4to8`, `elastic-4to8-v2`, …
 * @param method where it is not the usual one, which gives its name: `gptq-2to8`
 */
export function suggestName(
  method: string | undefined,
  bits: readonly number[],
  taken: readonly string[],
): string {
  const prefix = method ?? 'elastic';
  const widths = formatBits(bits, 'en').replace(/([\d.]+)–([\d.]+)/g, '$2to$1');
  const name = `${prefix}-${widths.replaceAll(', ', '-')}`;
  const used = new Set(taken.map(fold));
  if (!used.has(fold(name))) return name;
  for (let number = 2; ; number++) if (!used.has(fold(`${name}-v${number}`))) return `${name}-v${number}`;
}

/** What keeps `name` from being that of a new adapter set; undefined where nothing does. */
export function setNameProblem(name: string, taken: readonly string[]): NameProblem | 'taken' | undefined {
  return nameProblem(name) ?? (taken.some((other) => fold(other) === fold(name)) ? 'taken' : undefined);
}

const fold = (name: string) => name.normalize('NFC').toLowerCase();

/**
 * The folder that adapter sets of a model go to: `adapters` beside its weights; for a model of the Hugging Face cache,
 * whose folders belong to the hub's own tools, `adapters/<model>` in the first workspace folder.
 */
export function adaptersFolder(model: SupportedModel, workspace: readonly string[]): string {
  const inWorkspace = workspace.some((folder) => contains(folder, model.path));
  const inCache = basename(dirname(model.path)) === 'snapshots';
  if (!inCache || inWorkspace || workspace[0] === undefined) return join(model.path, 'adapters');
  return join(workspace[0], 'adapters', modelName(model).replaceAll('/', '--'));
}
