/** A method's own options, one of them at a time. */
import type { MethodOptionReport } from '../../engine/protocol/protocol.js';
import { BACK, type Place, type Step } from '../common/ask.js';
import { askText, pickOne } from '../common/inputs.js';
import { vscode } from '../common/vscode.js';
import {
  choicesOf,
  parseOption,
  settableOptions,
  withOption,
  type Answers,
  type MethodValue,
  type MethodValues,
} from './choices.js';

/** Asks which of the method's options is to be another, and what. */
export const optionStep: Step<Answers> = async (answers, place) => {
  const { method, options } = choicesOf(answers);
  for (;;) {
    const option = await pickOne<MethodOptionReport>(place, {
      placeholder: vscode.l10n.t('Option of {0} to set', method.title),
      items: settableOptions(method).map((value) => ({
        value,
        label: value.name,
        description: String(options[value.name] ?? value.standard ?? ''),
        detail: value.help,
      })),
    });
    if (option === undefined || option === BACK) return option;
    const value = option.choices ? await pickValue(place, option) : await typeValue(place, option, options);
    if (value === undefined) return undefined;
    if (value !== BACK) return { options: withOption(options, option.name, value.value) };
  }
};

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
