/** What to evaluate, on what, at which bit-widths. Parts are built anew only when what they offer changes: focus stays. */
import { button, checkbox, numberField } from '../common/controls.js';
import { element } from '../common/dom.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import { fill } from '../common/text.js';
import type { Setup, StringKey, Strings } from './protocol.js';
import { chooseBits, chooseSet, commonBits, missing, offeredBits } from './state.js';

export interface FormActions {
  change(form: Setup): void;
  chooseData(): void;
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
  const submit = part();
  const data = element('span', { class: 'data' });
  const field = (name: StringKey, ...content: readonly HTMLElement[]) =>
    element(
      'div',
      { class: 'field', role: 'group', 'aria-labelledby': `label-${name}` },
      element('div', { class: 'label', id: `label-${name}` }, strings[name]),
      ...content,
    );
  const root = element(
    'div',
    { class: 'setup' },
    field('adapterSets', sets.root),
    field(
      'evaluationSet',
      element(
        'div',
        { class: 'content' },
        data,
        button({ label: strings.chooseData, onPress: () => actions.chooseData() }),
      ),
    ),
    field('bitWidths', bits.root),
    field(
      'compareWith',
      element(
        'div',
        { class: 'content' },
        checkbox({
          label: strings.rounding,
          hint: strings.roundingHint,
          checked: initial.baseline,
          onChange: (baseline) => change({ ...form, baseline }),
        }),
      ),
    ),
    field(
      'samples',
      element(
        'div',
        { class: 'content' },
        numberField({
          label: strings.samples,
          placeholder: strings.allSamples,
          value: initial.limit,
          onChange: (limit) => {
            const { limit: _, ...rest } = form;
            change(limit === undefined ? rest : { ...rest, limit });
          },
        }),
      ),
    ),
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

  const bitBoxes = (offered: readonly number[], available: readonly number[]) =>
    offered.map((width) =>
      checkbox({
        label: fill(strings.bits, formatWidth(width, locale)),
        ...(!available.includes(width) && { hint: strings.bitsMissing }),
        checked: available.includes(width) && form.bits.includes(width),
        disabled: !available.includes(width),
        onChange: (chosen) => change(chooseBits(form, width, chosen)),
      }),
    );

  return {
    root,
    show(next, again) {
      form = next;
      const [offered, available] = [offeredBits(form), commonBits(form)];
      const problem = missing(form);
      sets.show(
        form.sets.map(({ id, problem: reason }) => [id, reason]),
        setBoxes,
      );
      bits.show([offered, available], () => bitBoxes(offered, available));
      data.textContent = form.data?.name ?? strings.noData;
      data.classList.toggle('muted', form.data === undefined);
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
