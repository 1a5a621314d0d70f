/** The questions before a calibration, one function per question. */
import { readdir } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { vscode } from '../common/vscode.js';
import type {
  CalibrateEstimate,
  DeviceChoice,
  DeviceReport,
  MethodOptionReport,
  MethodReport,
  SupportedModel,
} from '../../engine/protocol/protocol.js';
import { modeName } from '../adapters/nodes.js';
import type { Connection } from '../common/connection.js';
import { messageOf } from '../common/errors.js';
import { formatBits, formatBytes, formatCount, formatDuration } from '../common/format.js';
import { BACK, type Place, type Step } from '../common/ask.js';
import { askText, pickOne, pickSeveral, type Choice } from '../common/inputs.js';
import { chooseDataset } from '../data/choose.js';
import { chooseDevice, deviceName } from '../devices/choose.js';
import { modelName } from '../models/names.js';
import {
  adaptersFolder,
  choicesOf,
  estimateRequestOf,
  hasEpochs,
  lengthsOf,
  methodOf,
  parseOption,
  settableOptions,
  suggestName,
  usualBits,
  withOption,
  type Answers,
  type Choices,
  type Length,
  type Limits,
  type MethodValue,
  type MethodValues,
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

/** @param preset the model was named, so it is not asked for. Nor is anything else that has one answer alone. */
export const calibrationSteps =
  (sources: Sources, preset: boolean) =>
  (answers: Answers): Step<Answers>[] => [
    ...(preset ? [] : [modelStep(sources)]),
    ...(answers.methods ? calibrationStepsOf(sources, answers) : []),
    // Until the model is known there is a question after it.
    ...(answers.methods ? [] : [startStep(sources)]),
  ];

function calibrationStepsOf(sources: Sources, answers: Answers): Step<Answers>[] {
  const { method, mode } = methodOf(answers);
  const isCustom = answers.length?.kind === 'custom' && mode.samples > 0;
  return [
    ...(answers.methods!.length > 1 ? [methodStep(sources)] : []),
    ...(method.modes.length > 1 ? [modeStep(sources)] : []),
    bitsStep(sources),
    ...(mode.samples > 0 ? [dataStep(sources)] : []),
    deviceStep(sources),
    ...(lengthsOf(method, mode).length > 1 ? [lengthStep(sources)] : []),
    ...(isCustom ? [countStep('samples', vscode.l10n.t('Samples to calibrate on'))] : []),
    ...(isCustom && hasEpochs(method)
      ? [countStep('epochs', vscode.l10n.t('Epochs: how often each block sees every sample'))]
      : []),
    nameStep(sources),
    startStep(sources),
  ];
}

const modelStep =
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

const methodStep =
  ({ remembered }: Sources): Step<Answers> =>
  async ({ model, methods, method }, place) => {
    const before = method ?? remembered(model!.task).method;
    const picked = await pickOne<string>(place, {
      placeholder: vscode.l10n.t('How to calibrate'),
      items: methods!.map(({ name, title, description }) => ({
        value: name,
        label: title,
        detail: description,
      })),
      active: (value) => value === before,
    });
    // Another method has options of its own.
    return answer(picked, (value) => (value === method ? {} : { method: value, options: {} }));
  };

const modeStep =
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

const bitsStep =
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

type LengthKind = Length['kind'];

const lengthStep =
  (sources: Sources): Step<Answers> =>
  async (answers, place) => {
    const before = answers.length ?? sources.remembered(answers.model!.task).length;
    const { method, mode } = methodOf(answers);
    const kinds = lengthsOf(method, mode);
    const estimates = Promise.all(
      kinds.map(async (kind) =>
        kind === 'custom' ? undefined : estimate(sources, { ...answers, length: { kind } }),
      ),
    );
    // An estimate that fails is shown in full before the start.
    const update = estimates.then(
      (all) => kinds.map((kind, i) => lengthChoice(kind, method, all[i])),
      () => kinds.map((kind) => lengthChoice(kind, method)),
    );
    const kind = await pickOne<LengthKind>(place, {
      placeholder: vscode.l10n.t('How long to calibrate'),
      items: kinds.map((value) => lengthChoice(value, method)),
      update,
      active: (value) => value === before?.kind,
    });
    if (kind !== 'custom') return answer(kind, (value) => ({ length: { kind: value } }));
    const known = before?.kind === 'custom' ? before : undefined;
    const standard = known ? undefined : await estimates.then(([first]) => first).catch(() => undefined);
    const samples = known?.samples ?? standard?.settings.samples ?? mode.samples;
    if (!hasEpochs(method)) return { length: { kind: 'custom', samples } };
    return { length: { kind: 'custom', samples, epochs: known?.epochs ?? epochsOf(standard) } };
  };

const lengthChoice = (
  kind: LengthKind,
  method: MethodReport,
  found?: CalibrateEstimate,
): Choice<LengthKind> => ({
  value: kind,
  ...lengthTexts(kind, method),
  ...(found && { description: `${amount(found.settings)} · ${cost(found)}` }),
});

function lengthTexts(
  kind: LengthKind,
  method: MethodReport,
): { readonly label: string; readonly detail: string } {
  switch (kind) {
    case 'standard':
      return { label: vscode.l10n.t('Standard'), detail: vscode.l10n.t('Best quality in our tests') };
    case 'short':
      return {
        label: vscode.l10n.t('Quick trial'),
        detail: vscode.l10n.t('To see the workflow, not the final quality'),
      };
    case 'paper':
      return {
        label: vscode.l10n.t("The paper's recipe"),
        detail: vscode.l10n.t('As published ({0})', method.title),
      };
    case 'custom':
      return {
        label: vscode.l10n.t('Custom…'),
        detail: hasEpochs(method)
          ? vscode.l10n.t('Samples and epochs of your choice')
          : vscode.l10n.t('As many samples as you choose'),
      };
  }
}

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
  async (answers, place) => {
    const { model, method, bits } = choicesOf(answers);
    const { out } = answers;
    const folder = adaptersFolder(model, workspace);
    const taken = await takenNames(folder, promised());
    const suggested = suggestName(method.name, bits, taken);
    const value = out === undefined || dirname(out) !== folder ? suggested : basename(out);
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
    let { options = {} } = answers;
    for (;;) {
      const own = { ...answers, options };
      const picked = await pickOne<'start' | 'options'>(place, {
        placeholder: vscode.l10n.t('Review and start'),
        items: estimate(sources, own).then(
          (found) => startChoices(own, found),
          (error: unknown) => [{ label: `$(error) ${messageOf(error)}` }, ...optionsChoice(own)],
        ),
      });
      if (picked !== 'options') return answer(picked, () => ({ options }));
      const changed = await changeOption(place, choicesOf(own));
      if (changed === undefined) return undefined;
      if (changed !== BACK) options = changed;
    }
  };

const optionsChoice = (answers: Answers): Choice<'options'>[] => {
  const { method, options } = choicesOf(answers);
  if (settableOptions(method).length === 0) return [];
  const given = Object.entries(options).map(([name, value]) => `${name} ${String(value)}`);
  return [
    {
      label: `$(settings-gear) ${vscode.l10n.t('Options of {0}…', method.title)}`,
      description: given.join(' · '),
      value: 'options',
    },
  ];
};

/** Asks which of the method's options is to be another, and what. */
async function changeOption(
  place: Place,
  { method, options }: Choices,
): Promise<MethodValues | typeof BACK | undefined> {
  const inner = { ...place, back: true };
  for (;;) {
    const option = await pickOne<MethodOptionReport>(inner, {
      placeholder: vscode.l10n.t('Option of {0} to set', method.title),
      items: settableOptions(method).map((value) => ({
        value,
        label: value.name,
        description: String(options[value.name] ?? value.standard ?? ''),
        detail: value.help,
      })),
    });
    if (option === undefined || option === BACK) return option;
    const value = option.choices ? await pickValue(inner, option) : await typeValue(inner, option, options);
    if (value === undefined) return undefined;
    if (value !== BACK) return withOption(options, option.name, value.value);
  }
}

interface OptionValue {
  /** Undefined for what is standard. */
  readonly value: MethodValue | undefined;
}

const pickValue = (
  place: Place,
  { help, choices }: MethodOptionReport,
): Promise<OptionValue | typeof BACK | undefined> =>
  pickOne<OptionValue>(place, {
    placeholder: help,
    items: [
      { label: vscode.l10n.t('Standard'), value: { value: undefined } },
      ...choices!.map((value) => ({ label: value, value: { value } })),
    ],
  });

async function typeValue(
  place: Place,
  option: MethodOptionReport,
  options: MethodValues,
): Promise<OptionValue | typeof BACK | undefined> {
  const { help, standard, name } = option;
  const usual = standard === undefined ? '' : ` (${vscode.l10n.t('standard: {0}', standard)})`;
  const text = await askText(place, {
    prompt: `${help}${usual}`,
    value: String(options[name] ?? ''),
    problem: (typed) =>
      typed.trim() === '' || parseOption(option, typed) !== undefined
        ? undefined
        : vscode.l10n.t('Enter a number, or nothing for the standard.'),
  });
  if (text === undefined || text === BACK) return text;
  return { value: text.trim() === '' ? undefined : parseOption(option, text) };
}

function startChoices(answers: Answers, found: CalibrateEstimate): Choice<'start' | 'options'>[] {
  const { model, method, data } = choicesOf(answers);
  const { settings, device, bytes } = found;
  const line = (label: string, description: string): Choice<'start'> => ({ label, description });
  return [
    {
      label: `$(play) ${vscode.l10n.t('Start calibration')}`,
      description: cost(found),
      value: 'start',
    },
    ...optionsChoice(answers),
    ...(bytes > totalmem()
      ? [
          line(
            `$(warning) ${vscode.l10n.t('It needs more memory than this machine has')}`,
            vscode.l10n.t('{0} of {1}', formatBytes(bytes, locale()), formatBytes(totalmem(), locale())),
          ),
        ]
      : []),
    { label: '', kind: vscode.QuickPickItemKind.Separator },
    line(vscode.l10n.t('Model'), modelName(model)),
    line(vscode.l10n.t('Method'), method.title),
    line(vscode.l10n.t('Quantized'), modeName(settings.mode)),
    line(vscode.l10n.t('Bit-widths'), formatBits(settings.bits)),
    ...settings.facts.map(({ label, value }) => line(label, value)),
    line(
      vscode.l10n.t('Calibration set'),
      data === undefined
        ? vscode.l10n.t('none: the method needs no samples')
        : `${basename(data)} · ${amount(settings)}`,
    ),
    line(
      vscode.l10n.t('Device'),
      `${deviceName(device)} · ${vscode.l10n.t('{0} GFLOP/s', Math.round(found.gflops))}`,
    ),
    line(vscode.l10n.t('Adapter set'), answers.out!),
  ];
}

const amount = ({ samples }: CalibrateEstimate['settings']): string =>
  vscode.l10n.t('{0} samples', new Intl.NumberFormat(locale()).format(samples));

const USUAL_EPOCHS = 15;

/** As the method says them of its settings. */
const epochsOf = (found: CalibrateEstimate | undefined): number =>
  Number(found?.settings.facts.find(({ label }) => label === 'epochs')?.value ?? USUAL_EPOCHS);

const cost = ({ seconds, bytes }: CalibrateEstimate): string =>
  vscode.l10n.t('about {0}, up to {1} of memory', formatDuration(seconds), formatBytes(bytes, locale()));

const estimate = ({ connection, limits }: Sources, answers: Answers): Promise<CalibrateEstimate> =>
  connection.request('calibrate/estimate', {
    request: estimateRequestOf(choicesOf(answers), limits),
  });

const answer = <T>(
  picked: T | typeof BACK | undefined,
  add: (value: T) => Partial<Answers>,
): Partial<Answers> | typeof BACK | undefined =>
  picked === undefined || picked === BACK ? (picked as typeof BACK | undefined) : add(picked);
