/** What to take, in words: the smallest model within a chosen loss, the best one within a chosen size. */
import { button, dropdown } from '../common/controls.js';
import { element } from '../common/dom.js';
import { fill, formatBytes } from '../common/text.js';
import { formatPercent, formatWidth } from '../../engine/plans/numbers.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { formatMetric, type Metric } from './metrics.js';
import { nameOf } from './names.js';
import { bestWithin, rowKey, sizesOf, smallestWithin } from './series.js';
import { showsResult, type State } from './state.js';

/** Of a share in points, else of full precision's value. */
const LOSSES = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1];
const USUAL_LOSS = 0.01;
/** Of full precision's size: the best model is looked for among those that are smaller, at first. */
const USUAL_SHARE = 0.25;

export interface Advice {
  /** Tiles, in the order they are read. */
  readonly tiles: readonly HTMLElement[];
  show(state: State, rows: readonly EvaluationRow[], metric: Metric): void;
}

/** @param exportRow asks for the model of a row as a file */
export function adviceView(exportRow: (row: EvaluationRow) => void): Advice {
  let shown: Parameters<Advice['show']> | undefined;
  let loss = USUAL_LOSS;
  let size: number | undefined;
  const redraw = () => shown && show(...shown);
  const smallest = tile((value) => {
    loss = Number(value);
    redraw();
  }, exportRow);
  const best = tile((value) => {
    size = Number(value);
    redraw();
  }, exportRow);

  function show(...given: Parameters<Advice['show']>): void {
    shown = given;
    const [state, rows, metric] = given;
    const { strings, view } = state;
    const full = rows.find(({ kind }) => kind === 'full');
    const isCompared = full?.[metric.key] !== undefined && metric.key !== 'kl';
    smallest.root.hidden = !isCompared;
    if (isCompared)
      smallest.show(state, metric, full, smallestWithin(rows, metric, loss), {
        label: strings.adviceSmallest,
        choices: LOSSES.map((each) => ({
          value: String(each),
          label: metric.share
            ? each === 0.01
              ? strings.adviceLossPoint
              : fill(strings.adviceLossPoints, formatWidth(100 * each, view.locale))
            : fill(strings.adviceLoss, formatPercent(each, view.locale, each < 0.01 ? 1 : 0)),
        })),
        value: String(loss),
      });
    const sizes = sizesOf(rows, metric);
    best.root.hidden = sizes.length < 2;
    if (best.root.hidden) return;
    const most = sizes.includes(size ?? -1)
      ? size!
      : (sizes.findLast((bytes) => bytes <= USUAL_SHARE * (full?.bytes ?? 0)) ?? sizes[0]!);
    best.show(state, metric, full, bestWithin(rows, metric, most), {
      label: strings.adviceBest,
      choices: sizes.map((bytes) => ({ value: String(bytes), label: formatBytes(bytes, view.locale) })),
      value: String(most),
    });
  }

  return { tiles: [smallest.root, best.root], show };
}

interface Question {
  readonly label: string;
  readonly choices: readonly { readonly value: string; readonly label: string }[];
  readonly value: string;
}

/** A question with its choices, the answer to it, and a way to have that as a file. */
function tile(onChange: (value: string) => void, exportRow: (row: EvaluationRow) => void) {
  const label = element('div', { class: 'label' });
  const picker = element('div', { class: 'picker' });
  const value = element('div', { class: 'value' });
  const detail = element('div', { class: 'muted' });
  const actions = element('div');
  const root = element('div', { class: 'tile advice' }, label, picker, value, detail, actions);
  let asked = '';
  let answered = '';
  return {
    root,
    show(
      state: State,
      metric: Metric,
      full: EvaluationRow | undefined,
      row: EvaluationRow | undefined,
      question: Question,
    ): void {
      const { strings, view } = state;
      label.textContent = question.label;
      // A control that is open or focused is left alone.
      const key = JSON.stringify(question.choices);
      if (key !== asked) picker.replaceChildren(dropdown({ ...question, onChange }));
      asked = key;
      value.textContent = row ? fill(strings.bits, bitsOf(row, view.locale)) : '–';
      detail.textContent = row ? sentence(state, metric, full, row) : strings.adviceNone;
      const canExport = showsResult(view) && view.setup !== undefined && row?.kind === 'adapters';
      const now = canExport ? rowKey(row) : '';
      if (now !== answered)
        actions.replaceChildren(
          ...(canExport ? [button({ label: strings.exportThis, onPress: () => exportRow(row) })] : []),
        );
      answered = now;
    },
  };
}

const bitsOf = ({ bits }: EvaluationRow, locale: string): string =>
  bits === 'fp' ? '–' : formatWidth(bits, locale);

function sentence(state: State, metric: Metric, full: EvaluationRow | undefined, row: EvaluationRow): string {
  const { strings, view } = state;
  const parts = [
    nameOf(row, state),
    formatMetric(metric, row[metric.key]!, view.locale),
    formatBytes(row.bytes, view.locale),
  ];
  return full
    ? fill(strings.adviceDetail, ...parts, formatPercent(row.bytes / full.bytes, view.locale))
    : fill(strings.adviceDetailAlone, ...parts);
}
