/** What a person chooses before a calibration, and the request it comes to. Knows no editor. */
import { basename, dirname, join } from 'node:path';
import type {
  CalibrateRequest,
  DeviceChoice,
  EstimateRequest,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { nameProblem, type NameProblem } from '../../engine/plans/names.js';
import { formatBits } from '../common/format.js';
import { contains } from '../common/paths.js';
import { modelName } from '../models/names.js';

export type Mode = NonNullable<CalibrateRequest['mode']>;
export type Task = SupportedModel['task'];

/** How long to calibrate, and on how much. */
export type Length =
  | { readonly kind: 'standard' | 'short' | 'paper' }
  | { readonly kind: 'custom'; readonly samples: number; readonly epochs: number };

export interface Choices {
  readonly model: SupportedModel;
  readonly mode: Mode;
  readonly bits: readonly number[];
  /** Absolute path of the calibration set. */
  readonly data: string;
  readonly device: DeviceChoice;
  readonly length: Length;
  /** The folder of the adapter set to be made. */
  readonly out: string;
}

export const BIT_WIDTHS = [8, 7, 6, 5, 4, 3, 2] as const;

/** What the engine calibrates where nothing else is asked. */
export const standardBits = (mode: Mode): readonly number[] =>
  mode === 'weight-only' ? BIT_WIDTHS : [8, 7, 6, 5, 4];

/** Enough to see every step of the way; the figures it yields are not those of a calibration worth keeping. */
const SHORT: Readonly<Record<Task, { readonly samples: number; readonly epochs: number }>> = {
  'image-classification': { samples: 128, epochs: 2 },
  'text-generation': { samples: 16, epochs: 2 },
};

/** The modes that the engine calibrates, the usual one first. */
export const MODES: Readonly<Record<Task, readonly Mode[]>> = {
  'image-classification': ['weight-activation'],
  'text-generation': ['weight-only', 'weight-activation'],
};

/** What the settings say about any calibration; 0 leaves it to the engine. */
export interface Limits {
  readonly threads: number;
  /** Gigabytes. */
  readonly cacheMemory: number;
}

export type RunChoices = Omit<Choices, 'out'>;

export const requestOf = (choices: Choices, limits: Limits): CalibrateRequest => ({
  ...estimateRequestOf(choices, limits),
  data: choices.data,
  out: choices.out,
});

/** What an estimate needs of a calibration. */
export function estimateRequestOf(
  { model, mode, bits, data, device, length }: RunChoices,
  { threads, cacheMemory }: Limits,
): EstimateRequest {
  return {
    model: model.path,
    data,
    mode,
    bits,
    device,
    ...lengthOf(length, model.task),
    ...(threads > 0 && { threads }),
    ...(cacheMemory > 0 && { cacheMemory: Math.round(cacheMemory * 1e9) }),
  };
}

/** The settings that a length stands for. */
export function lengthOf(
  length: Length,
  task: Task,
): Pick<CalibrateRequest, 'recipe' | 'samples' | 'options'> {
  switch (length.kind) {
    case 'standard':
      return {};
    case 'paper':
      return { recipe: 'paper' };
    case 'short':
      return amountOf(SHORT[task] ?? SHORT['text-generation']!);
    case 'custom':
      return amountOf(length);
  }
}

const amountOf = ({ samples, epochs }: { readonly samples: number; readonly epochs: number }) => ({
  samples,
  options: { epochs },
});

/** Chosen last time, offered first the next. */
export interface Remembered {
  readonly mode?: Mode;
  readonly bits?: readonly number[];
  /** Paths, the latest first. */
  readonly data?: readonly string[];
  readonly length?: Length;
}

const REMEMBERED_PATHS = 5;

export function remember(before: Remembered, { mode, bits, data, length }: Choices): Remembered {
  const others = (before.data ?? []).filter((path) => path !== data);
  return { mode, bits, length, data: [data, ...others].slice(0, REMEMBERED_PATHS) };
}

/** A name that is free: `elastic-8-4`, `elastic-8-4-2`, … */
export function suggestName(bits: readonly number[], taken: readonly string[]): string {
  const name = `elastic-${formatBits(bits, 'en').replace(/[^\d.]+/g, '-')}`;
  const used = new Set(taken.map(fold));
  if (!used.has(fold(name))) return name;
  for (let number = 2; ; number++) if (!used.has(fold(`${name}-${number}`))) return `${name}-${number}`;
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
