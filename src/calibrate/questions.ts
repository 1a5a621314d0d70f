/** The questions before a calibration, one function per question. */
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type {
  DeviceChoice,
  DeviceReport,
  MethodReport,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { modeName } from '../adapters/nodes.js';
import { BACK, type Step } from '../common/ask.js';
import type { Connection } from '../common/connection.js';
import { formatCount } from '../common/format.js';
import { askText, pickOne, pickSeveral } from '../common/inputs.js';
import { vscode } from '../common/vscode.js';
import { chooseDataset } from '../data/choose.js';
import { chooseDevice } from '../devices/choose.js';
import { modelName } from '../models/names.js';
import {
  adaptersFolder,
  choicesOf,
  isUsual,
  methodOf,
  suggestName,
  usualBits,
  type Answers,
  type Limits,
  type Mode,
  type Remembered,
} from './choices.js';
import { nameProblemText } from './name-text.js';

/** What the questions draw on. */
export interface Sources {
  readonly connection: Connection;
  readonly models: () => Promise<readonly SupportedModel[]>;
  /** Those that fit a model, at least one. Rejects with a line for people where there is none. */
  readonly methods: (model: SupportedModel) => Promise<readonly MethodReport[]>;
  readonly devices: () => Promise<readonly DeviceReport[]>;
  readonly remembered: (task: SupportedModel['task']) => Remembered;
  readonly device: DeviceChoice;
  readonly limits: Limits;
  /** Folder of the extension. */
  readonly root: string;
  readonly workspace: readonly string[];
  /** Folders that queued and running calibrations will write. */
  readonly promised: () => readonly string[];
}

const locale = () => vscode.env.language;

export const modelStep =
  ({ models, methods }: Sources): Step<Answers> =>
  async ({ model }, place) => {
    const all = await models();
    const picked = await pickOne<SupportedModel>(place, {
      placeholder: vscode.l10n.t('Model to calibrate'),
      items: all.map((value) => ({
        value,
        label: modelName(value),
        description: `${value.family} · ${vscode.l10n.t('{0} parameters', formatCount(value.parameters, locale()))}`,
        detail: value.path,
      })),
      active: (value) => value.path === model?.path,
    });
    if (picked === undefined || picked === BACK) return picked;
    return { model: picked, methods: await methods(picked) };
  };

export const modeStep =
  ({ remembered }: Sources): Step<Answers> =>
  async (answers, place) => {
    const before = answers.mode ?? remembered(answers.model!.task).mode;
    const picked = await pickOne<Mode>(place, {
      placeholder: vscode.l10n.t('What to quantize'),
      items: methodOf(answers).method.modes.map(({ mode }) => ({
        value: mode,
        label: modeLabel(mode),
        detail: MODE_DETAILS()[mode],
      })),
      active: (value) => value === before,
    });
    return answer(picked, (value) => ({ mode: value }));
  };

function modeLabel(mode: Mode): string {
  const name = modeName(mode);
  return name.charAt(0).toLocaleUpperCase(locale()) + name.slice(1);
}

const MODE_DETAILS = (): Record<Mode, string> => ({
  'weight-only': vscode.l10n.t('Makes the model smaller; activations stay in floating point.'),
  'weight-activation': vscode.l10n.t('Makes the model smaller, and its matrix products integer.'),
});

export const bitsStep =
  ({ remembered }: Sources): Step<Answers> =>
  async (answers, place) => {
    const { method, mode } = methodOf(answers);
    const before = answers.bits ?? usualBits(remembered(answers.model!.task), method, mode);
    const picked = await pickSeveral<number>(
      place,
      {
        placeholder: vscode.l10n.t('Bit-widths for the model to run at'),
        items: mode.allowed.map((value) => ({
          value,
          label: value === 1 ? vscode.l10n.t('1 bit') : vscode.l10n.t('{0} bits', value),
        })),
      },
      (value) => before.includes(value),
    );
    return answer(picked, (value) => ({ bits: value }));
  };

export const dataStep =
  ({ remembered, root }: Sources): Step<Answers> =>
  async ({ model }, place) => {
    const path = await chooseDataset(place, {
      task: model!.task,
      purpose: 'calibration',
      placeholder: vscode.l10n.t('Calibration set: a small slice of what the model will see'),
      recent: remembered(model!.task).data ?? [],
      root,
    });
    return answer(path, (data) => ({ data }));
  };

export const deviceStep =
  ({ devices, device: setting }: Sources): Step<Answers> =>
  async ({ device }, place) =>
    answer(await chooseDevice(place, device ?? setting, devices()), (value) => ({ device: value }));

export const nameStep =
  (sources: Sources): Step<Answers> =>
  async (answers, place) => {
    const folder = folderOf(sources, answers);
    const taken = await takenNames(folder, sources.promised());
    const name = await askText(place, {
      prompt: vscode.l10n.t('Name of the adapter set, which is written to {0}', folder),
      value: basename(await outOf(sources, answers)),
      problem: (text) => nameProblemText(text, taken),
    });
    return answer(name, (text) => ({ out: join(folder, text) }));
  };

/** The folder of the adapter set: the one that was named, where it is the model's, or else one that is free. */
export async function outOf(sources: Sources, answers: Answers): Promise<string> {
  const folder = folderOf(sources, answers);
  if (answers.out !== undefined && dirname(answers.out) === folder) return answers.out;
  const taken = await takenNames(folder, sources.promised());
  return join(
    folder,
    suggestName(isUsual(answers) ? undefined : methodOf(answers).method.name, choicesOf(answers).bits, taken),
  );
}

const folderOf = ({ workspace }: Sources, { model }: Answers): string => adaptersFolder(model!, workspace);

/** Names in a folder, finished, unfinished (`<name>.partial`) or promised to a job. */
async function takenNames(folder: string, promised: readonly string[]): Promise<string[]> {
  const there = await readdir(folder).catch(() => []);
  return [
    ...there.map((name) => name.replace(/\.partial$/, '')),
    ...promised.filter((path) => dirname(path) === folder).map((path) => basename(path)),
  ];
}

export const answer = <T>(
  picked: T | typeof BACK | undefined,
  add: (value: T) => Partial<Answers>,
): Partial<Answers> | typeof BACK | undefined =>
  picked === undefined || picked === BACK ? (picked as typeof BACK | undefined) : add(picked);
