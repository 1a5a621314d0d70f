/** The precision editor's page: totals, the grid of layers, and beside it the frontier, the running model, and a trial. */
import { announcer } from '../common/announce.js';
import { dropdown, progressBar } from '../common/controls.js';
import { element, setAttributes } from '../common/dom.js';
import { openChannel } from '../common/messaging.js';
import { decodeBits, encodeBits, sameBits } from '../../engine/plans/bits.js';
import { formatPercent, formatWidth, numberFormat } from '../../engine/plans/numbers.js';
import { fill, formatBytes } from '../common/text.js';
import { totalsOf, type Totals } from '../../engine/plans/totals.js';
import { frontierChart } from './chart.js';
import { decimals, formatCost, layerGrid, type GridContent } from './grid.js';
import { livePanel, tryPanel } from './live.js';
import { besideMeasured, formatMeasured } from './measured.js';
import { planPanel } from './plans.js';
import type { Act, FromPage, FrontierPoint, Results, Shown, Table } from './protocol.js';
import type { Order } from './rows.js';
import {
  changesOf,
  pressed,
  receive,
  selectedLayers,
  shownBits,
  suggestionAt,
  togglePins,
  withLines,
  type State,
} from './state.js';
import { layersOf } from './rows.js';
import type { Meaning } from './selection.js';

let state: State | undefined;
const title = element('h1');
const subtitle = element('p', { class: 'muted' });
const tiles = element('div', { class: 'tiles' });
const notices = element('div', { class: 'notices' });
const filter = element('input', { type: 'search', class: 'filter', spellcheck: 'false' });
const sort = element('span', { class: 'sort' });
const legend = element('div', { class: 'legend', 'aria-hidden': 'true' });
const spoken = announcer();
const grid = layerGrid({
  onMeaning: (meaning) => apply(meaning),
  onSelect: (selection) => update((now) => ({ ...now, selection })),
  onBits: (line, bits) => {
    update((now) => pressed(now, line));
    apply({ kind: 'bits', bits });
  },
  onPin: (line) => pin(layersOf(state?.lines[line])),
});
const chart = frontierChart({
  onPreview: (point) => preview(point),
  onApply: (point) => setAll(bitsOf(point)),
});
const plans = planPanel({ onBits: (bits) => setAll(bits), act });
const live = livePanel(act);
const trial = tryPanel(
  (input) => channel.tell({ type: 'try', input }),
  (failure) => update((now) => ({ ...now, tried: { error: String((failure as Error).message) } })),
);

document.body.append(
  element(
    'main',
    {},
    element('header', {}, element('div', { class: 'titles' }, title, subtitle), tiles),
    notices,
    element(
      'div',
      { class: 'columns' },
      element(
        'section',
        { class: 'layers' },
        element('div', { class: 'toolbar' }, filter, sort, legend),
        grid.root,
      ),
      element(
        'aside',
        {},
        element('section', { class: 'panel' }, element('h2', { id: 'frontier-title' }), chart.root),
        plans.root,
        live.root,
        trial.root,
      ),
    ),
    spoken.root,
  ),
);

const channel = openChannel<Shown, FromPage, Results>((message) => {
  const before = state;
  state = receive(state, message);
  if (!state) return;
  if (message.type === 'table') showFixed(state);
  render(before);
  if (
    message.type === 'table' ||
    (message.type === 'plan' && !before?.bits.length) ||
    pinnedBitsChanged(before, state)
  )
    askFrontier();
  announce(before, state);
});

function act(action: Act['action']): void {
  channel.tell({ type: 'act', action });
}

function update(change: (now: State) => State): void {
  const before = state;
  if (!state) return;
  state = change(state);
  render(before);
}

function apply(meaning: Meaning): void {
  if (!state) return;
  if (meaning.kind === 'select') return update((now) => ({ ...now, selection: meaning.selection }));
  if (meaning.kind === 'pin') return pin(selectedLayers(state));
  const changes = changesOf(state, meaning);
  if (changes.length === 0) return;
  channel.tell({ type: 'set', changes });
  // The text answers within moments; until then the page shows what was asked for.
  const bits = [...state.bits];
  for (const [i, width] of changes) bits[i] = width;
  update((now) => ({ ...now, bits, pending: true }));
  const { strings, locale } = state.shown;
  const widths = [...new Set(changes.map(([, width]) => width))].sort((a, b) => a - b);
  const said = widths.map((width) => formatWidth(width, locale)).join(', ');
  spoken.say(fill(changes.length === 1 ? strings.setDoneOne : strings.setDone, changes.length, said));
}

function setAll(bits: readonly number[]): void {
  if (!state || state.broken !== undefined || sameBits(bits, state.bits))
    return update((now) => ({ ...now, preview: undefined }));
  channel.tell({ type: 'setAll', bits });
  update((now) => withLines({ ...now, bits, preview: undefined, pending: true }));
}

/** Of the layers of a plan on the frontier. */
const bitsOf = (point: FrontierPoint): number[] => decodeBits(point.bits, state?.shown.table?.bits ?? []);

let frame: number | undefined;

/** A slider sends more than a screen shows. */
function preview(point: FrontierPoint | undefined): void {
  if (!state) return;
  state = { ...state, preview: point && bitsOf(point) };
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    render(state);
  });
}

function pin(layers: readonly number[]): void {
  if (layers.length === 0) return;
  update((now) => togglePins(now, layers));
  const names = [...state!.pinned].map((i) => state!.shown.table!.layers[i]!.name);
  channel.tell({ type: 'pin', layers: names });
  askFrontier();
}

const pinnedBitsChanged = (before: State | undefined, now: State): boolean =>
  before !== undefined && [...now.pinned].some((i) => before.bits[i] !== now.bits[i]);

let asked = 0;

/** Once a table and set of pinned layers; every budget is looked up in the answer. */
function askFrontier(): void {
  if (!state?.shown.table?.sensitivity || state.bits.length === 0) return;
  const number = ++asked;
  const pinned = [...state.pinned].map((i) => [i, state!.bits[i]!] as const);
  channel.ask({ type: 'frontier', pinned }).then(
    ({ points }) => {
      if (number === asked) update((now) => ({ ...now, frontier: points }));
    },
    (error: Error) => {
      if (number === asked) spoken.say(error.message);
    },
  );
}

/** What changes with the table alone. */
function showFixed({ shown, order }: State): void {
  const { strings, table } = shown;
  title.textContent = shown.title;
  subtitle.textContent = shown.subtitle;
  setAttributes(filter, { placeholder: strings.filter, 'aria-label': strings.filter });
  document.getElementById('frontier-title')!.textContent = strings.frontierHelp;
  const orders: [Order, string][] = [
    ['model', strings.sortModel],
    ['bits', strings.sortBits],
    ['share', strings.sortShare],
    ...(table?.sensitivity
      ? ([
          ['cost', strings.sortCost],
          ['sensitivity', strings.sortSensitivity],
        ] as [Order, string][])
      : []),
  ];
  sort.replaceChildren(
    dropdown({
      label: strings.sort,
      value: order,
      choices: orders.map(([value, label]) => ({ value, label })),
      onChange: (value) => update((now) => withLines({ ...now, order: value as Order })),
    }),
  );
}

filter.addEventListener('input', () => update((now) => withLines({ ...now, filter: filter.value })));
filter.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowDown' || event.key === 'Enter') {
    event.preventDefault();
    grid.focus();
  }
});

function render(before: State | undefined): void {
  if (!state) return;
  const { shown, heat, selection, lines, pinned, compared } = state;
  const { table, strings, locale } = shown;
  const bits = shownBits(state);
  const ready = table !== undefined && bits.length === table.layers.length;
  document.body.classList.toggle('empty', !ready);
  showNotices(state);
  live.show({ strings, locale, live: state.live, possible: shown.live });
  trial.show({
    strings,
    locale,
    task: table?.task ?? 'image-classification',
    tried: state.tried,
    possible: shown.live,
  });
  if (!ready) return;
  const totals = totalsOf(table, bits);
  const suggested = suggestionAt(state, totals.bytes);
  const content: GridContent = {
    table,
    strings,
    locale,
    heat,
    bits,
    lines,
    selection,
    pinned,
    suggested: suggested && suggestionBits(suggested),
    compared: compared?.bits.length === bits.length ? compared.bits : undefined,
    readOnly: state.broken !== undefined,
    busy: state.pending,
  };
  grid.show(content);
  showTiles(state, totals);
  showLegend(state);
  const other = content.compared && totalsOf(table, content.compared);
  const uniform = uniformOf(table);
  const spot = <T extends { readonly cost: number | undefined }>(value: T) => ({
    ...value,
    cost: value.cost ?? 0,
  });
  chart.show({
    strings,
    locale,
    points: state.frontier,
    readOnly: content.readOnly,
    current: { ...spot(totals), bits: encodeBits(bits, table.bits) },
    uniform: uniform.map(spot),
    compared: other && { ...spot(other), name: compared!.name },
  });
  plans.show({
    strings,
    locale,
    table,
    bits,
    frontier: state.frontier,
    readOnly: content.readOnly,
    compared: compared && { name: compared.name, bits: compared.bits },
  });
  if (before?.lines !== lines) spoken.root.dataset.lines = String(lines.length);
}

const uniforms = new WeakMap<Table, readonly (Totals & { readonly bits: number })[]>();

/** Plans with the same bits everywhere, priced once a table. */
function uniformOf(table: Table): readonly (Totals & { readonly bits: number })[] {
  const known = uniforms.get(table);
  if (known) return known;
  const priced = table.bits.map((bits) => ({
    bits,
    ...totalsOf(
      table,
      table.layers.map(() => bits),
    ),
  }));
  uniforms.set(table, priced);
  return priced;
}

let suggestion: { readonly point: FrontierPoint; readonly bits: readonly number[] } | undefined;

function suggestionBits(point: FrontierPoint): readonly number[] {
  if (suggestion?.point !== point) suggestion = { point, bits: bitsOf(point) };
  return suggestion.bits;
}

interface Notice {
  readonly name: 'error' | 'warning' | 'info';
  readonly text: string;
  readonly press?: readonly [label: string, action: Act['action']];
  /** A bar behind it shows how far it is. */
  readonly bar?: boolean;
}

function noticesOf({ shown, broken, problems, measuring }: State): Notice[] {
  const { strings } = shown;
  const openText = [strings.openText, 'text'] as const;
  const text: Notice[] =
    broken !== undefined
      ? [{ name: 'error', text: fill(strings.broken, broken), press: openText }]
      : problems.length > 0
        ? [{ name: 'warning', text: fill(strings.problems, problems.length, problems[0]!), press: openText }]
        : [];
  const lacks = shown.lacks.map(({ lack, text, action }): Notice =>
    measuring && (lack === 'sensitivity' || lack === 'stale')
      ? { name: 'info', text: strings.measuringLayers, press: [strings.showJobs, 'jobs'], bar: true }
      : { name: 'info', text, ...(action !== undefined && { press: [action, lack] as const }) },
  );
  return [...text, ...lacks];
}

const measuringBar = progressBar('');

function showNotices(state: State): void {
  const { measuring, shown } = state;
  if (measuring) measuringBar.show(measuring.share, measuring.text);
  const wanted = noticesOf(state);
  // The same notices stay the elements they are, so that a screen reader reads them once.
  const key = JSON.stringify(wanted);
  if (notices.dataset.key === key) return;
  notices.dataset.key = key;
  measuringBar.root.firstElementChild!.setAttribute('aria-label', shown.strings.measuringLayers);
  notices.replaceChildren(...wanted.map(noticeLine));
}

function noticeLine({ name, text, press, bar }: Notice): HTMLElement {
  const line = element('p', { role: name === 'error' ? 'alert' : 'status' }, text);
  if (press) {
    const link = element('button', { class: 'link', type: 'button' }, press[0]);
    link.addEventListener('click', () => act(press[1]));
    line.append(' ', link);
  }
  return element('div', { class: `notice ${name}` }, line, ...(bar ? [measuringBar.root] : []));
}

function showTiles({ shown, live: { measured }, bits }: State, totals: ReturnType<typeof totalsOf>): void {
  const { strings, locale, table } = shown;
  const latest = measured.at(-1);
  const fresh = latest !== undefined && sameBits(latest.bits, bits);
  const tile = (label: string, value: string, detail: string, name = '', ...more: HTMLElement[]) =>
    element(
      'div',
      { class: `tile ${name}` },
      element('span', { class: 'label' }, label),
      element('span', { class: 'value' }, value),
      element('span', { class: 'detail' }, detail),
      ...more,
    );
  const detail = (text: string, title: string) => element('span', { class: 'detail', title }, text);
  tiles.replaceChildren(
    tile(strings.averageBits, decimals(totals.averageBits, 2, locale), strings.averageHint),
    tile(
      strings.size,
      formatBytes(totals.bytes, locale),
      fill(
        strings.ofFull,
        formatPercent(totals.bytes / (table?.fullBytes ?? totals.bytes), locale, 0, {
          maximumFractionDigits: 1,
        }),
      ),
      '',
      ...(table?.switchableBytes === undefined
        ? []
        : [
            detail(
              fill(strings.switchable, formatBytes(table.switchableBytes, locale)),
              strings.switchableHint,
            ),
          ]),
    ),
    tile(
      strings.predictedCost,
      totals.cost === undefined ? '–' : formatCost(totals.cost, locale),
      strings.costHint,
    ),
    latest
      ? tile(
          strings[latest.metric],
          formatMeasured(latest, locale),
          besideMeasured(latest, strings, locale),
          fresh ? '' : 'old',
          detail(
            fill(
              fresh ? strings.measuredDetail : strings.measuredBefore,
              numberFormat(locale, {}).format(latest.samples),
            ),
            strings.measuredHint,
          ),
        )
      : tile(strings.measured, '–', strings.notMeasured),
  );
}

function showLegend({ shown, heat, compared, frontier }: State): void {
  const { strings, locale, table } = shown;
  legend.hidden = table?.sensitivity === undefined && compared === undefined;
  const scale = Array.from({ length: 10 }, (_, i) => element('span', { class: `swatch heat-${i}` }));
  const [low, high] = heat.ends;
  const parts = [
    ...(table?.sensitivity
      ? [
          element('span', { title: formatCost(low, locale) }, strings.lessSensitive),
          element('span', { class: 'scale' }, ...scale),
          element('span', { title: formatCost(high, locale) }, strings.moreSensitive),
        ]
      : []),
    ...(frontier.length > 0
      ? [element('span', { class: 'swatch bits suggested' }), element('span', {}, strings.legendSuggested)]
      : []),
    ...(compared
      ? [element('span', { class: 'swatch bits compared' }), element('span', {}, strings.legendCompared)]
      : []),
  ];
  legend.replaceChildren(...parts);
}

function announce(before: State | undefined, now: State): void {
  const { strings, locale } = now.shown;
  const latest = now.live.measured.at(-1);
  if (
    latest &&
    latest !== before?.live.measured.at(-1) &&
    now.live.measured.length !== before?.live.measured.length
  )
    spoken.say(`${strings[latest.metric]}: ${formatMeasured(latest, locale)}`);
  if (before && now.broken !== before.broken) {
    setAttributes(grid.root, { 'aria-disabled': now.broken !== undefined && 'true' });
    if (now.broken !== undefined) spoken.say(strings.readOnly);
  }
}
