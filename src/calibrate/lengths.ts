/** The question how long to calibrate. */
import type { CalibrateEstimate, MethodReport } from '../../engine/protocol/protocol.js';
import type { Step } from '../common/ask.js';
import { askText, pickOne, type Choice } from '../common/inputs.js';
import { vscode } from '../common/vscode.js';
import { hasEpochs, lengthsOf, methodOf, type Answers, type Length } from './choices.js';
import { amount, cost, epochsOf, estimate } from './estimate.js';
import { answer, type Sources } from './questions.js';

/** With the numbers that a length of one's own has. */
export const lengthSteps = (sources: Sources, answers: Answers): Step<Answers>[] => {
  const isCustom = answers.length?.kind === 'custom';
  return [
    lengthStep(sources),
    ...(isCustom ? [countStep('samples', vscode.l10n.t('Samples to calibrate on'))] : []),
    ...(isCustom && hasEpochs(methodOf(answers).method)
      ? [countStep('epochs', vscode.l10n.t('Epochs: how often each block sees every sample'))]
      : []),
  ];
};

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
    const estimated = async function* () {
      // An estimate that fails is shown in full before the start.
      const all = await estimates.catch(() => []);
      yield kinds.map((kind, i) => lengthChoice(kind, method, all[i]));
    };
    const kind = await pickOne<LengthKind>(place, {
      placeholder: vscode.l10n.t('How long to calibrate'),
      items: kinds.map((value) => lengthChoice(value, method)),
      updates: estimated(),
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

export function lengthTexts(
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
