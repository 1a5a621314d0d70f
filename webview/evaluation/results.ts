/** Rows as tiles, two charts and a table. Everything that is a picture is also text. */
import { adviceView } from './advice.js';
import { button, dropdown, grid, type Column } from '../common/controls.js';
import { element } from '../common/dom.js';
import { chart, fullSwatch, swatch, type ChartContent } from './chart.js';
import { DEVICE_NAMES } from '../../engine/plans/names.js';
import { formatWidth } from '../../engine/plans/numbers.js';
import { fill, formatBytes } from '../common/text.js';
import { differencesFrom, formatDifference, referencesOf, type Reference } from './differences.js';
import { decimals, formatCell, formatMetric, formatTick, metricsOf, type Metric } from './metrics.js';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { fullNameOf, methodOf, nameOf } from './names.js';
import type { Strings } from './protocol.js';
import { chartable, rowKey, type Chartable, type Point } from './series.js';
import { currentMetric, currentReference, shownRows, showsResult, type State } from './state.js';
import { sortRows } from './table.js';

export interface ResultsActions {
  chooseMetric(key: Metric['key']): void;
  /** @param key undefined for full precision */
  chooseReference(key: string | undefined): void;
  sort(column: string, numeric: boolean): void;
  export(format: 'csv' | 'json'): void;
  /** @param row the one whose model is exported; undefined to choose */
  exportModel(row?: EvaluationRow): void;
}

export interface Results {
  readonly root: HTMLElement;
  show(state: State): void;
}

const HELP = 'chart-help';
/** No key of a reference, and not empty: an empty value is what the toolkit's dropdown takes for any option. */
const FULL = 'full';

export function resultsView(actions: ResultsActions): Results {
  const heading = element('h2', { id: 'results' });
  const summary = element('p', { class: 'muted summary' });
  const metricPicker = element('div', { class: 'picker' });
  const fullTile = element('div', { class: 'tile' });
  const advice = adviceView((row) => actions.exportModel(row));
  const tiles = element('div', { class: 'tiles' }, fullTile, ...advice.tiles);
  const legend = element('ul', { class: 'legend' });
  const help = element('p', { class: 'spoken', id: HELP });
  const highlight = (key: string | undefined) => {
    for (const each of charts) each.highlight(key);
    for (const line of table.root.querySelectorAll<HTMLElement>('[data-key]'))
      line.classList.toggle('on', key !== undefined && line.dataset.key === key);
  };
  const charts = [1, 2].map(() => chart({ helpId: HELP, onVisit: highlight }));
  const table = grid({
    label: '',
    onSort: (column) => actions.sort(column, column !== 'label' && column !== 'method'),
    onVisit: highlight,
  });
  const tableHeading = element('h2', { id: 'table' });
  const exports = element('div', { class: 'exports' });
  const referencePicker = element('div', { class: 'picker' });
  const errorNote = element('p', { class: 'muted' });
  const root = element(
    'section',
    { class: 'results', 'aria-labelledby': 'results' },
    element('div', { class: 'head' }, element('div', {}, heading, summary), metricPicker),
    tiles,
    legend,
    help,
    element('div', { class: 'charts' }, ...charts.map((each) => each.root)),
    element(
      'div',
      { class: 'head' },
      tableHeading,
      element('div', { class: 'tools' }, referencePicker, exports),
    ),
    element('div', { class: 'table' }, table.root),
    errorNote,
  );
  let pickerKey = '';
  let exportsKey = '';
  let referenceKey = '';

  return {
    root,
    show(state) {
      const { view, strings } = state;
      const rows = shownRows(view);
      const metric = currentMetric(state);
      root.hidden = rows.length === 0 || metric === undefined;
      if (root.hidden || !metric) return;
      const finished = showsResult(view);
      const task = view.result?.task ?? view.model.task;
      const metrics = metricsOf(rows, task);

      heading.textContent = finished ? strings.results : strings.resultsSoFar;
      summary.textContent = finished ? summaryOf(state) : '';
      // A control that is open or focused is left alone: what is chosen in it only it changes.
      const key = JSON.stringify(metrics.map((m) => m.key));
      if (key !== pickerKey) {
        metricPicker.replaceChildren(
          dropdown({
            label: strings.metric,
            choices: metrics.map((m) => ({ value: m.key, label: strings[m.name] })),
            value: metric.key,
            onChange: (value) => actions.chooseMetric(value as Metric['key']),
          }),
        );
        pickerKey = key;
      }
      showFull(fullTile, rows, metric, state);
      advice.show(state, rows, metric);
      const data = chartable(rows, metric);
      legend.replaceChildren(...legendOf(data, state));
      help.textContent = strings.chartHelp;
      charts[0]!.show(chartContent('bits', data, metric, state));
      charts[1]!.show(chartContent('bytes', data, metric, state));

      const reference = currentReference(state);
      const listed = reference ? differencesFrom(rows, reference, task) : rows;
      const listedMetrics = reference ? metricsOf(listed, task) : metrics;
      errorNote.textContent = reference
        ? fill(strings.differenceNote, nameOf(reference, state))
        : strings.errorNote;
      errorNote.hidden = listed.every((row) => row.scoreError === undefined);
      showReferences(state, reference);
      tableHeading.textContent = strings.table;
      table.root.setAttribute('aria-label', strings.table);
      table.show(
        columnsOf(listedMetrics, strings, reference && DIFFERENCE_WIDTH),
        sortRows(listed, state.sorting).map((row) => ({
          key: rowKey(row),
          cells: [
            row.runtime === undefined ? nameOf(row, state) : `${row.label} · ${row.runtime}`,
            methodOf(row, state),
            bitsText(row, view.locale),
            averageText(row, view.locale),
            formatBytes(row.bytes, view.locale),
            ...listedMetrics.map((m) =>
              reference ? formatDifference(row, m, view.locale) : formatCell(row, m, task, view.locale),
            ),
          ],
        })),
        state.sorting,
      );
      const hasModels = finished && view.setup !== undefined && rows.some(({ kind }) => kind === 'adapters');
      if (exportsKey !== `${finished} ${hasModels}`) {
        exportsKey = `${finished} ${hasModels}`;
        exports.replaceChildren(
          button({
            label: strings.exportModel,
            disabled: !hasModels,
            onPress: () => actions.exportModel(),
          }),
          ...(['csv', 'json'] as const).map((format) =>
            button({
              label: format === 'csv' ? strings.exportCsv : strings.exportJson,
              disabled: !finished,
              onPress: () => actions.export(format),
            }),
          ),
        );
      }
    },
  };

  function showReferences(state: State, chosen: Reference | undefined): void {
    const { view, strings } = state;
    const references = referencesOf(shownRows(view));
    referencePicker.hidden = references.length === 0;
    const key = JSON.stringify(references);
    if (key === referenceKey) return;
    referenceKey = key;
    referencePicker.replaceChildren(
      dropdown({
        label: strings.compareWith,
        choices: [
          { value: FULL, label: fill(strings.against, strings.fullPrecision) },
          ...references.map((one) => ({
            value: one.key,
            label: fill(strings.against, nameOf(one, state)),
          })),
        ],
        value: chosen?.key ?? FULL,
        onChange: (value) => actions.chooseReference(value === FULL ? undefined : value),
      }),
    );
  }
}

function summaryOf({ view, strings }: State): string {
  const { result, locale } = view;
  if (!result) return '';
  const samples = Math.max(0, ...result.rows.map((row) => row.samples));
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' }).format(
    result.date,
  );
  const text = fill(
    strings.summary,
    result.data,
    new Intl.NumberFormat(locale).format(samples),
    DEVICE_NAMES[result.device],
    durationOf(result.seconds, strings, locale),
    date,
  );
  if (result.skipped === 0) return text;
  return `${text} · ${fill(result.skipped === 1 ? strings.skippedOne : strings.skipped, result.skipped)}`;
}

export function durationOf(seconds: number, strings: Strings, locale: string): string {
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  return seconds < 90
    ? fill(strings.seconds, number.format(Math.max(1, seconds)))
    : fill(strings.minutes, number.format(seconds / 60));
}

const averageText = ({ averageBits }: Pick<EvaluationRow, 'averageBits'>, locale: string): string =>
  averageBits === undefined ? '–' : decimals(averageBits, 2, locale);

const bitsText = ({ bits }: Pick<EvaluationRow, 'bits'>, locale: string): string =>
  bits === 'fp' ? '–' : formatWidth(bits, locale);

function showFull(
  tile: HTMLElement,
  rows: readonly EvaluationRow[],
  metric: Metric,
  { view: { locale }, strings }: State,
): void {
  const full = rows.find((row) => row.kind === 'full');
  const value = full?.[metric.key];
  tile.hidden = value === undefined || metric.key === 'kl';
  if (tile.hidden) return;
  tile.replaceChildren(
    element('div', { class: 'label' }, strings.fullPrecision),
    element('div', { class: 'value' }, formatMetric(metric, value!, locale)),
    element('div', { class: 'muted' }, formatBytes(full!.bytes, locale)),
  );
}

function legendOf({ full, series }: Chartable, state: State): HTMLElement[] {
  const entries = series.map((s) => element('li', {}, swatch(s), fullNameOf(s, state)));
  return full ? [...entries, element('li', {}, fullSwatch(), state.strings.fullPrecision)] : entries;
}

function chartContent(
  axis: ChartContent['axis'],
  data: Chartable,
  metric: Metric,
  state: State,
): ChartContent {
  const { view, strings } = state;
  const { locale } = view;
  const name = strings[metric.name];
  const title = fill(axis === 'bits' ? strings.againstBits : strings.againstSize, name);
  return {
    axis,
    data,
    title,
    axisTitle: axis === 'bits' ? strings.axisBits : strings.axisSize,
    summary: fill(
      strings.chart,
      title,
      metric.better === 'higher' ? strings.higherIsBetter : strings.lowerIsBetter,
    ),
    share: metric.share,
    fullValue: data.full?.[metric.key],
    logarithmicNote: strings.logarithmic,
    formatValue: (value) => formatTick(metric, value, locale),
    formatX: (value) => (axis === 'bits' ? formatWidth(value, locale) : formatBytes(value, locale)),
    describe: (mark, series) =>
      fill(
        strings.pointLabel,
        fullNameOf(series, state),
        pointBits(mark, state),
        formatBytes(mark.bytes, locale),
        formatMetric(metric, mark.value, locale),
      ),
  };
}

/** The offered bits of a point, and what they are on average where that is another number. */
function pointBits({ bits, average }: Point, { view: { locale }, strings }: State): string {
  const offered = fill(strings.bits, formatWidth(bits, locale));
  return average === bits ? offered : fill(strings.pointBits, offered, decimals(average, 2, locale));
}

/** A difference has more digits than a score. */
const DIFFERENCE_WIDTH = 'minmax(190px, 1fr)';
const SCORE_WIDTH = 'minmax(90px, 1fr)';

function columnsOf(metrics: readonly Metric[], strings: Strings, scoreWidth = SCORE_WIDTH): Column[] {
  const numeric = (key: string, title: string, width = SCORE_WIDTH): Column => ({
    key,
    title,
    width,
    numeric: true,
  });
  return [
    { key: 'label', title: strings.columnModel, numeric: false, width: 'minmax(140px, 2fr)' },
    { key: 'method', title: strings.columnMethod, numeric: false, width: 'minmax(80px, 1fr)' },
    numeric('bits', strings.columnBits),
    numeric('averageBits', strings.columnAverage),
    numeric('bytes', strings.columnSize),
    ...metrics.map((metric) => numeric(metric.key, strings[metric.name], scoreWidth)),
  ];
}
