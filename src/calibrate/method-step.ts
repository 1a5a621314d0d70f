/** How to calibrate: the methods by what people choose them by, with what each would take. */
import type { Step } from '../common/ask.js';
import { formatBits } from '../common/format.js';
import { pickOne, type Choice } from '../common/inputs.js';
import { vscode } from '../common/vscode.js';
import { chosenMethod, methodChoices, type Answers, type MethodChoice, type Way } from './choices.js';
import { cost, estimate } from './estimate.js';
import { answer, type Sources } from './questions.js';

const locale = () => vscode.env.language;

export const methodStep =
  (sources: Sources): Step<Answers> =>
  async (answers, place) => {
    const before = answers.method ?? sources.remembered(answers.model!.task).method;
    const choices = methodChoices(answers.methods!);
    const picked = await pickOne<MethodChoice>(place, {
      placeholder: vscode.l10n.t('How to calibrate'),
      items: methodItems(choices, new Map()),
      updates: estimatedItems(sources, answers, choices),
      active: ({ method, way }) => method.name === before && way !== 'extreme',
    });
    return answer(picked, (value) => chosenMethod(answers, value));
  };

/** The choices with what each would take, as one estimate after another is there. */
async function* estimatedItems(sources: Sources, answers: Answers, choices: readonly MethodChoice[]) {
  const found = new Map<MethodChoice, string>();
  for (const choice of choices) {
    // What cannot be estimated, such as with the data that was chosen, is said when it is chosen.
    const took = await estimate(sources, { ...answers, ...chosenMethod(answers, choice) }).catch(
      () => undefined,
    );
    if (took) found.set(choice, cost(took));
    yield methodItems(choices, found);
  }
}

function methodItems(
  choices: readonly MethodChoice[],
  costs: ReadonlyMap<MethodChoice, string>,
): Choice<MethodChoice>[] {
  return choices.flatMap((choice, i) => {
    const { way, method, bits, options = {} } = choice;
    const took = costs.get(choice);
    const item = {
      value: choice,
      label: bits ? vscode.l10n.t('{0} at {1} bits', method.title, formatBits(bits, locale())) : method.title,
      ...(took !== undefined && { description: took }),
      detail: [method.description, ...Object.values(options)].join(' · '),
    };
    const isFirst = choices[i - 1]?.way !== way;
    return isFirst ? [{ label: WAYS()[way], kind: vscode.QuickPickItemKind.Separator }, item] : [item];
  });
}

const WAYS = (): Record<Way, string> => ({
  learned: vscode.l10n.t('Learned, step by step'),
  computed: vscode.l10n.t('One pass, any bit-widths'),
  extreme: vscode.l10n.t('Extreme: 1 and 2 bits'),
  dataless: vscode.l10n.t('Without data'),
});
