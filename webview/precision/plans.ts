/** Plans to start from, and the one that this is compared with. */
import { button } from '../common/controls.js';
import { element } from '../common/dom.js';
import { fill, formatBytes } from '../common/text.js';
import { decodeBits } from '../../engine/plans/bits.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import { totalsOf } from '../../engine/plans/totals.js';
import { bestWithin } from './frontier.js';
import { decimals, formatCost } from './grid.js';
import type { Act, FrontierPoint, Strings, Table } from './protocol.js';

export interface PlansContent {
  readonly strings: Strings;
  readonly locale: string;
  readonly table: Table;
  readonly bits: readonly number[];
  readonly frontier: readonly FrontierPoint[];
  readonly compared: { readonly name: string; readonly bits: readonly number[] } | undefined;
  readonly readOnly: boolean;
}

export interface PlanPanel {
  readonly root: HTMLElement;
  show(content: PlansContent): void;
}

/** Bit-widths that a uniform plan is offered at, from the highest down: all of a few, every other of more. */
function uniformWidths(offered: readonly number[]): number[] {
  const falling = [...offered].reverse();
  return falling.length <= 4 ? falling : falling.filter((_, i) => i % 2 === 0).slice(0, 3);
}

export function planPanel(options: {
  readonly onBits: (bits: readonly number[]) => void;
  readonly act: (action: Act['action']) => void;
}): PlanPanel {
  const heading = element('h2');
  const uniform = element('div', { class: 'buttons' });
  const best = element('div', { class: 'buttons' });
  const comparison = element('div', { class: 'comparison' });
  const root = element('section', { class: 'panel' }, heading, uniform, best, comparison);
  let shape = '';
  let shownFrontier: readonly FrontierPoint[] | undefined;

  return {
    root,
    show({ strings, locale, table, bits, frontier, compared, readOnly }) {
      heading.textContent = strings.presets;
      const next = JSON.stringify([table.bits, bits.length, readOnly, strings.presets]);
      if (next !== shape || frontier !== shownFrontier) {
        [shape, shownFrontier] = [next, frontier];
        const widths = uniformWidths(table.bits);
        const uniformOf = (width: number) => bits.map(() => width);
        uniform.replaceChildren(
          ...widths.map((width) =>
            button({
              label: fill(strings.presetUniform, formatWidth(width, locale)),
              disabled: readOnly,
              onPress: () => options.onBits(uniformOf(width)),
            }),
          ),
        );
        const offered = frontier.length > 0 ? table.bits.filter((width) => width < table.bits.at(-1)!) : [];
        best.replaceChildren(
          ...(offered.length > 0 ? [element('span', { class: 'muted' }, strings.presetBest)] : []),
          ...offered.map((width) => {
            const { bytes } = totalsOf(table, uniformOf(width));
            const control = button({
              label: formatWidth(width, locale),
              disabled: readOnly,
              onPress: () =>
                options.onBits(decodeBits(frontier[bestWithin(frontier, bytes)]!.bits, table.bits)),
            });
            const hint = fill(strings.presetBestHint, formatWidth(width, locale), formatBytes(bytes, locale));
            control.title = hint;
            control.setAttribute('aria-label', hint);
            return control;
          }),
        );
      }
      const link = (label: string, action: Act['action']) => {
        const control = element('button', { class: 'link', type: 'button' }, label);
        control.addEventListener('click', () => options.act(action));
        return control;
      };
      const text = compared && comparisonText(compared, { strings, locale, table, bits });
      if (comparison.dataset.text === (text ?? '') && comparison.childElementCount > 0) return;
      comparison.dataset.text = text ?? '';
      comparison.replaceChildren(
        ...(text === undefined
          ? [link(strings.compare, 'compare')]
          : [
              element('p', {}, text),
              link(strings.compare, 'compare'),
              ' ',
              link(strings.stopComparing, 'uncompare'),
            ]),
      );
    },
  };
}

function comparisonText(
  { name, bits: other }: { readonly name: string; readonly bits: readonly number[] },
  { strings, locale, table, bits }: Pick<PlansContent, 'strings' | 'locale' | 'table' | 'bits'>,
): string {
  if (other.length !== bits.length) return fill(strings.compareNone, name);
  const [mine, theirs] = [totalsOf(table, bits), totalsOf(table, other)];
  const different = bits.filter((width, i) => width !== other[i]).length;
  const signed = (value: number, text: string) => (value > 0 ? `+${text}` : text);
  const bytes = mine.bytes - theirs.bytes;
  const size = signed(bytes, bytes < 0 ? `−${formatBytes(-bytes, locale)}` : formatBytes(bytes, locale));
  const average = mine.averageBits - theirs.averageBits;
  const cost = mine.cost === undefined || theirs.cost === undefined ? undefined : mine.cost - theirs.cost;
  const parts = [
    fill(strings.compareDifferent, different),
    `${signed(average, decimals(average, 2, locale))} ${strings.bits}`,
    size,
    ...(cost === undefined ? [] : [fill(strings.rowCost, signed(cost, formatCost(cost, locale)))]),
  ];
  return `${fill(strings.comparing, name)} ${parts.join(' · ')}`;
}
