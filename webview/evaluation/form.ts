/** What to evaluate, on what, at which bit-widths. Parts are built anew only when what they offer changes: focus stays. */
import { button, checkbox, numberField } from '../common/controls.js';
import { element } from '../common/dom.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import { fill } from '../common/text.js';
import type { ChooseData, DataChoice, Setup, StringKey, Strings } from './protocol.js';
import {
  availableBits,
  chooseBaseline,
  chooseBits,
  choosePlan,
  chooseSet,
  missing,
  needsBaselineData,
  runnablePlans,
} from './state.js';

export interface FormActions {
  change(form: Setup): void;
  chooseData(use: ChooseData['use']): void;
  start(): void;
}

export interface Form {
  readonly root: HTMLElement;
  /** @param again a result is there already */
  show(form: Setup, again: boolean): void;
}

const MISSING = 'form-missing';

export function formView(initial: Setup, strings: Strings, locale: string, actions: FormActions): Form {
  let form = initial;
  const change = (next: Setup) => {
    form = next;
    actions.change(next);
  };

  const sets = part();
  const bits = part();
  const plans = part();
  const submit = part();
  const baselines = part();
  const data = dataField('evaluation');
  const baselineData = dataField('baselines');
  const field = (name: StringKey, ...content: readonly HTMLElement[]) =>
    element(
      'div',
      { class: 'field', role: 'group', 'aria-labelledby': `label-${name}` },
      element('div', { class: 'label', id: `label-${name}` }, strings[name]),
      ...content,
    );
  const calibratedOn = field('baselineData', baselineData.root);
  const planned = field('plans', plans.root);
  /** A number, or nothing for the usual one. */
  const optional = (key: 'limit' | 'length', name: StringKey, placeholder: StringKey) =>
    element(
      'div',
      { class: 'content' },
      numberField({
        label: strings[name],
        placeholder: strings[placeholder],
        value: initial[key],
        onChange: (value) => {
          const { [key]: _, ...rest } = form;
          change(value === undefined ? rest : { ...rest, [key]: value });
        },
      }),
    );
  const root = element(
    'div',
    { class: 'setup' },
    field('adapterSets', sets.root),
    field('evaluationSet', data.root),
    field('bitWidths', bits.root),
    planned,
    field('compareWith', baselines.root),
    calibratedOn,
    field('samples', optional('limit', 'samples', 'allSamples')),
    ...(initial.hasLength ? [field('length', optional('length', 'length', 'usualLength'))] : []),
    submit.root,
  );

  const setBoxes = () =>
    form.sets.length === 0
      ? [element('p', { class: 'muted' }, strings.noSets)]
      : form.sets.map((set) =>
          checkbox({
            label: set.name,
            ...(set.problem !== undefined && { hint: set.problem }),
            checked: set.chosen && !set.problem,
            disabled: set.problem !== undefined,
            onChange: (chosen) => change(chooseSet(form, set.id, chosen)),
          }),
        );

  const baselineBoxes = () =>
    form.baselines.map(({ name, title, hint, chosen }) =>
      checkbox({
        label: title,
        hint,
        checked: chosen,
        onChange: (now) => change(chooseBaseline(form, name, now)),
      }),
    );

  const bitBoxes = (available: readonly number[]) =>
    available.map((width) =>
      checkbox({
        label: fill(strings.bits, formatWidth(width, locale)),
        checked: form.bits.includes(width),
        onChange: (chosen) => change(chooseBits(form, width, chosen)),
      }),
    );

  const planBoxes = (runnable: readonly string[]) =>
    form.plans.map(({ id, name, chosen }) =>
      checkbox({
        label: name,
        ...(!runnable.includes(id) && { hint: strings.planOfOtherSet }),
        checked: chosen && runnable.includes(id),
        disabled: !runnable.includes(id),
        onChange: (now) => change(choosePlan(form, id, now)),
      }),
    );

  return {
    root,
    show(next, again) {
      form = next;
      const available = availableBits(form);
      const problem = missing(form);
      sets.show(
        form.sets.map(({ id, problem: reason }) => [id, reason]),
        setBoxes,
      );
      bits.show(available, () => bitBoxes(available));
      const runnable = runnablePlans(form).map(({ id }) => id);
      planned.hidden = form.plans.length === 0;
      plans.show([form.plans.map(({ id, name }) => [id, name]), runnable], () => planBoxes(runnable));
      baselines.show(
        form.baselines.map(({ name }) => name),
        baselineBoxes,
      );
      data.show(form.data);
      baselineData.show(form.baselineData);
      calibratedOn.hidden = !needsBaselineData(form);
      submit.show([again, problem], () => [
        button({
          label: again ? strings.evaluateAgain : strings.evaluate,
          primary: true,
          disabled: problem !== undefined,
          describedBy: MISSING,
          onPress: () => actions.start(),
        }),
        element('span', { id: MISSING, class: 'muted', role: 'status' }, problem && strings[problem]),
      ]);
    },
  };

  /** The name of chosen data, and a button to choose other data. */
  function dataField(use: ChooseData['use']) {
    const name = element('span', { class: 'data' });
    const choose = button({ label: strings.chooseData, onPress: () => actions.chooseData(use) });
    return {
      root: element('div', { class: 'content' }, name, choose),
      show(chosen: DataChoice | undefined) {
        name.textContent = chosen?.name ?? strings.noData;
        name.classList.toggle('muted', chosen === undefined);
      },
    };
  }
}

/** A part of the form whose content is replaced when `key` changes. */
function part() {
  const root = element('div', { class: 'content' });
  let shown: string | undefined;
  return {
    root,
    show(key: unknown, content: () => readonly HTMLElement[]) {
      const text = JSON.stringify(key);
      if (text === shown) return;
      shown = text;
      root.replaceChildren(...content());
    },
  };
}
