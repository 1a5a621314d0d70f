/** What the answers come to, before the start, and what of it can be changed. */
import { totalmem } from 'node:os';
import { basename } from 'node:path';
import type { CalibrateEstimate } from '../../engine/protocol/protocol.js';
import { modeName } from '../adapters/nodes.js';
import { askWithin, BACK, type Step } from '../common/ask.js';
import { messageOf } from '../common/errors.js';
import { formatBits, formatBytes } from '../common/format.js';
import { pickOne, type Choice } from '../common/inputs.js';
import { vscode } from '../common/vscode.js';
import { deviceName } from '../devices/choose.js';
import { modelName } from '../models/names.js';
import { choicesOf, lengthsOf, methodOf, settableOptions, type Answers } from './choices.js';
import { amount, cost, estimate } from './estimate.js';
import { lengthSteps, lengthTexts } from './lengths.js';
import { methodStep } from './method-step.js';
import { optionStep } from './options.js';
import { bitsStep, dataStep, deviceStep, modeStep, nameStep, outOf, type Sources } from './questions.js';

/** What is asked for only where somebody wants it otherwise. */
type Change = 'method' | 'options' | 'length' | 'bits' | 'device' | 'name';

const CHANGES: Readonly<Record<Change, (sources: Sources) => (answers: Answers) => Step<Answers>[]>> = {
  method: (sources) => (answers) => [
    ...(answers.methods!.length > 1 ? [methodStep(sources)] : []),
    ...(methodOf(answers).method.modes.length > 1 ? [modeStep(sources)] : []),
    ...(answers.data === undefined ? dataSteps(sources, answers) : []),
  ],
  options: () => () => [optionStep],
  length: (sources) => (answers) => lengthSteps(sources, answers),
  bits: (sources) => () => [bitsStep(sources)],
  device: (sources) => () => [deviceStep(sources)],
  name: (sources) => () => [nameStep(sources)],
};

export const dataSteps = (sources: Sources, answers: Answers): Step<Answers>[] =>
  methodOf(answers).mode.samples > 0 ? [dataStep(sources)] : [];

/** What the engine would refuse is said here, and cannot be started. */
export const reviewStep =
  (sources: Sources): Step<Answers> =>
  async (given, place) => {
    let answers = given;
    for (;;) {
      const out = await outOf(sources, answers);
      const picked = await pickOne<'start' | Change>(place, {
        placeholder: vscode.l10n.t('Review and start'),
        items: estimate(sources, answers).then(
          (found) => startChoices(answers, out, found),
          (error: unknown) => [{ label: `$(error) ${messageOf(error)}` }, ...changeChoices(answers, out)],
        ),
      });
      if (picked === undefined) return undefined;
      if (picked === BACK) return { [BACK]: answers };
      if (picked === 'start') return { ...answers, out };
      const changed = await askWithin(place, CHANGES[picked](sources), answers);
      if (changed === undefined) return undefined;
      if (changed !== BACK) answers = changed;
    }
  };

function startChoices(answers: Answers, out: string, found: CalibrateEstimate): Choice<'start' | Change>[] {
  const { model, data } = choicesOf(answers);
  const { settings, bytes } = found;
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
    separator(),
    ...changeChoices(answers, out, found),
    separator(),
    line(vscode.l10n.t('Model'), modelName(model)),
    line(
      vscode.l10n.t('Calibration set'),
      data === undefined
        ? vscode.l10n.t('none: the method needs no samples')
        : `${basename(data)} · ${amount(settings)}`,
    ),
    ...settings.facts.map(({ label, value }) => line(label, value)),
  ];
}

const separator = (): Choice<never> => ({ label: '', kind: vscode.QuickPickItemKind.Separator });

function changeChoices(answers: Answers, out: string, found?: CalibrateEstimate): Choice<Change>[] {
  const { method, mode, length, bits, device, options } = choicesOf(answers);
  const change = (value: Change, label: string, ...description: string[]): Choice<Change> => ({
    value,
    label: `$(edit) ${label}`,
    description: description.join(' · '),
  });
  const given = Object.entries(options).map(([name, value]) => `${name} ${String(value)}`);
  return [
    ...(answers.methods!.length > 1 || method.modes.length > 1
      ? [change('method', vscode.l10n.t('Change Method…'), method.title, modeName(mode.mode))]
      : []),
    ...(settableOptions(method).length > 0
      ? [change('options', vscode.l10n.t('Options of {0}…', method.title), ...given)]
      : []),
    ...(lengthsOf(method, mode).length > 1
      ? [change('length', vscode.l10n.t('Change Length…'), lengthTexts(length.kind, method).label)]
      : []),
    change('bits', vscode.l10n.t('Change Bit-Widths…'), formatBits(bits)),
    change(
      'device',
      vscode.l10n.t('Change Device…'),
      ...(found
        ? [deviceName(found.device), vscode.l10n.t('{0} GFLOP/s', Math.round(found.gflops))]
        : [deviceName(device)]),
    ),
    change('name', vscode.l10n.t('Change Name…'), basename(out)),
  ];
}

const locale = () => vscode.env.language;
