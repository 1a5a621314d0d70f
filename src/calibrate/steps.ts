/** The questions before a calibration, one function per question. */
import { readdir } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { vscode } from '../common/vscode.js';
import type { CalibrateEstimate, DeviceReport, SupportedModel } from '../../engine/protocol/protocol.js';
import { modeName } from '../adapters/nodes.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { formatBits, formatBytes, formatCount, formatDuration } from '../common/format.js';
import { BACK, type Step } from '../common/ask.js';
import { askText, pickOne, pickSeveral, type Choice } from '../common/inputs.js';
import { chooseDataset } from '../data/choose.js';
import { chooseDevice, deviceName } from '../devices/choose.js';
import { modelName } from '../models/names.js';
import {
  adaptersFolder,
  BIT_WIDTHS,
  estimateRequestOf,
  MODES,
  standardBits,
  suggestName,
  type Choices,
  type Length,
  type Limits,
  type Mode,
  type Remembered,
  type RunChoices,
} from './choices.js';
import { nameProblemText } from './name-text.js';

export type Answers = Partial<Choices>;

/** What the questions draw on. */
export interface Sources {
  readonly connection: Connection;
  readonly models: () => Promise<readonly SupportedModel[]>;
  readonly devices: () => Promise<readonly DeviceReport[]>;
  readonly remembered: (task: SupportedModel['task']) => Remembered;
  readonly device: Choices['device'];
  readonly limits: Limits;
  /** Folder of the extension. */
  readonly root: string;
  readonly workspace: readonly string[];
  /** Folders that queued and running calibrations will write. */
  readonly promised: () => readonly string[];
}

const locale = () => vscode.env.language;

/** @param preset the model was named, so it is not asked for */
export const calibrationSteps =
  (sources: Sources, preset: boolean) =>
  ({ length }: Answers): Step<Answers>[] => [
    ...(preset ? [] : [modelStep(sources)]),
    modeStep(sources),
    bitsStep(sources),
    dataStep(sources),
    deviceStep(sources),
    lengthStep(sources),
    ...(length?.kind === 'custom'
      ? [
          countStep('samples', vscode.l10n.t('Samples to calibrate on')),
          countStep('epochs', vscode.l10n.t('Epochs: how often each block sees every sample')),
        ]
      : []),
    nameStep(sources),
    startStep(sources),
  ];

const modelStep =
  ({ models }: Sources): Step<Answers> =>
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
    return answer(picked, (value) => ({ model: value }));
  };

const modeStep =
  ({ remembered }: Sources): Step<Answers> =>
  async ({ model, mode }, place) => {
    const before = mode ?? remembered(model!.task).mode;
    const picked = await pickOne<Mode>(place, {
      placeholder: vscode.l10n.t('What to quantize'),
      items: (MODES[model!.task] ?? MODES['text-generation']!).map((value) => ({
        value,
        label: modeLabel(value),
        detail: MODE_DETAILS()[value],
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

const bitsStep =
  ({ remembered }: Sources): Step<Answers> =>
  async ({ model, mode, bits }, place) => {
    const before = bits ?? remembered(model!.task).bits ?? standardBits(mode!);
    const picked = await pickSeveral<number>(
      place,
      {
        placeholder: vscode.l10n.t('Bit-widths for the model to run at'),
        items: BIT_WIDTHS.map((value) => ({ value, label: vscode.l10n.t('{0} bits', value) })),
      },
      (value) => before.includes(value),
    );
    return answer(picked, (value) => ({ bits: value }));
  };

const dataStep =
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

const deviceStep =
  ({ devices, device: setting }: Sources): Step<Answers> =>
  async ({ device }, place) =>
    answer(await chooseDevice(place, device ?? setting, devices()), (value) => ({ device: value }));

const LENGTHS = ['standard', 'short', 'paper', 'custom'] as const;
type LengthKind = (typeof LENGTHS)[number];

const lengthStep =
  (sources: Sources): Step<Answers> =>
  async (answers, place) => {
    const before = answers.length ?? sources.remembered(answers.model!.task).length;
    const estimates = Promise.all(
      (['standard', 'short', 'paper'] as const).map((kind) =>
        estimate(sources, { ...answers, length: { kind } }),
      ),
    );
    // An estimate that fails is shown in full before the start.
    const update = estimates.then(
      (all) => LENGTHS.map((kind, i) => lengthChoice(kind, all[i])),
      () => LENGTHS.map((kind) => lengthChoice(kind)),
    );
    const kind = await pickOne<LengthKind>(place, {
      placeholder: vscode.l10n.t('How long to calibrate'),
      items: LENGTHS.map((value) => lengthChoice(value)),
      update,
      active: (value) => value === before?.kind,
    });
    if (kind !== 'custom') return answer(kind, (value) => ({ length: { kind: value } }));
    if (before?.kind === 'custom') return { length: before };
    const { samples, epochs } = await estimates.then(
      ([standard]) => ({ samples: standard!.settings.samples, epochs: epochsOf(standard!) }),
      () => ({ samples: 128, epochs: 15 }),
    );
    return { length: { kind: 'custom', samples, epochs } };
  };

const lengthChoice = (kind: LengthKind, found?: CalibrateEstimate): Choice<LengthKind> => ({
  value: kind,
  ...LENGTH_TEXTS()[kind],
  ...(found && { description: `${amount(found.settings)} · ${cost(found)}` }),
});

const LENGTH_TEXTS = (): Record<LengthKind, { readonly label: string; readonly detail: string }> => ({
  standard: { label: vscode.l10n.t('Standard'), detail: vscode.l10n.t('The settings that measured best') },
  short: {
    label: vscode.l10n.t('Quick trial'),
    detail: vscode.l10n.t('To see how it works; its scores are worse than those of a full calibration'),
  },
  paper: { label: vscode.l10n.t("The paper's recipe"), detail: vscode.l10n.t('As published (QuEPT)') },
  custom: { label: vscode.l10n.t('Custom…'), detail: vscode.l10n.t('Samples and epochs of your choice') },
});

const countStep =
  (key: 'samples' | 'epochs', prompt: string): Step<Answers> =>
  async ({ length }, place) => {
    const custom = length as CustomLength;
    const text = await askText(place, { prompt, value: `${custom[key]}`, problem: countProblem });
    return answer(text, (value) => ({ length: { ...custom, [key]: Number(value) } }));
  };

type CustomLength = Extract<Length, { kind: 'custom' }>;

const countProblem = (text: string) =>
  /^\s*[1-9]\d{0,6}\s*$/.test(text) ? undefined : vscode.l10n.t('Enter a positive whole number.');

const nameStep =
  ({ workspace, promised }: Sources): Step<Answers> =>
  async ({ model, bits, out }, place) => {
    const folder = adaptersFolder(model!, workspace);
    const taken = await takenNames(folder, promised());
    const value = out === undefined || dirname(out) !== folder ? suggestName(bits!, taken) : basename(out);
    const name = await askText(place, {
      prompt: vscode.l10n.t('Name of the adapter set, which is written to {0}', folder),
      value,
      problem: (text) => nameProblemText(text, taken),
    });
    return answer(name, (text) => ({ out: join(folder, text) }));
  };

/** Names in a folder, finished, unfinished (`<name>.partial`) or promised to a job. */
async function takenNames(folder: string, promised: readonly string[]): Promise<string[]> {
  const there = await readdir(folder).catch(() => []);
  return [
    ...there.map((name) => name.replace(/\.partial$/, '')),
    ...promised.filter((path) => dirname(path) === folder).map((path) => basename(path)),
  ];
}

/** Shows what it comes to. What the engine would refuse is said here, and cannot be started. */
const startStep =
  (sources: Sources): Step<Answers> =>
  async (answers, place) => {
    const picked = await pickOne<'start'>(place, {
      placeholder: vscode.l10n.t('Review and start'),
      items: estimate(sources, answers).then(
        (found) => startChoices(answers as Choices, found),
        (error: unknown) => [{ label: `$(error) ${messageOf(error)}` }],
      ),
    });
    return answer(picked, () => ({}));
  };

function startChoices(choices: Choices, found: CalibrateEstimate): Choice<'start'>[] {
  const { settings, device, bytes } = found;
  const line = (label: string, description: string): Choice<'start'> => ({ label, description });
  return [
    {
      label: `$(play) ${vscode.l10n.t('Start calibration')}`,
      description: cost(found),
      value: 'start',
    },
    ...(bytes > totalmem()
      ? [
          line(
            `$(warning) ${vscode.l10n.t('It needs more memory than this machine has')}`,
            vscode.l10n.t('{0} of {1}', formatBytes(bytes, locale()), formatBytes(totalmem(), locale())),
          ),
        ]
      : []),
    { label: '', kind: vscode.QuickPickItemKind.Separator },
    line(vscode.l10n.t('Model'), modelName(choices.model)),
    line(vscode.l10n.t('Quantized'), modeName(settings.mode)),
    line(vscode.l10n.t('Bit-widths'), formatBits(settings.bits)),
    ...settings.facts.map(({ label, value }) => line(label, value)),
    line(vscode.l10n.t('Calibration set'), `${basename(choices.data)} · ${amount(settings)}`),
    line(
      vscode.l10n.t('Device'),
      `${deviceName(device)} · ${vscode.l10n.t('{0} GFLOP/s', Math.round(found.gflops))}`,
    ),
    line(vscode.l10n.t('Adapter set'), choices.out),
  ];
}

const amount = ({ samples }: CalibrateEstimate['settings']): string =>
  vscode.l10n.t('{0} samples', new Intl.NumberFormat(locale()).format(samples));

/** What the method says of its settings; of one without epochs the least there could be. */
const epochsOf = ({ settings }: CalibrateEstimate): number =>
  Number(settings.facts.find(({ label }) => label === 'epochs')?.value ?? 1);

const cost = ({ seconds, bytes }: CalibrateEstimate): string =>
  vscode.l10n.t('about {0}, up to {1} of memory', formatDuration(seconds), formatBytes(bytes, locale()));

const estimate = ({ connection, limits }: Sources, answers: Answers): Promise<CalibrateEstimate> =>
  connection.request('calibrate/estimate', {
    request: estimateRequestOf(answers as RunChoices, limits),
  });

const answer = <T>(
  picked: T | typeof BACK | undefined,
  add: (value: T) => Partial<Answers>,
): Partial<Answers> | typeof BACK | undefined =>
  picked === undefined || picked === BACK ? (picked as typeof BACK | undefined) : add(picked);
