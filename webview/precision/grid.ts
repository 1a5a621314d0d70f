/** The layers as a grid of a line each: only those in view are in the page. One tab stop; keys are `selection.ts`'s. */
import { element, setAttributes } from '../common/dom.js';
import { formatPercent, formatTiny, formatWidth, numberFormat } from '../../engine/plans/numbers.js';
import { fill, formatBytes } from '../common/text.js';
import { priceIndex, totalsOf } from '../../engine/plans/totals.js';
import type { Heat } from './heat.js';
import type { Strings, Table } from './protocol.js';
import { nameWithin, shortBlock, type Line } from './rows.js';
import { meaningOf, pick, type Meaning, type Selection } from './selection.js';
import { scrollTo, windowOf } from './window.js';

/** Height of a line, as the style sheet has it. */
export const LINE = 26;
/** Lines drawn beyond those in view, so that a fast scroll meets none that is missing. */
const OVERSCAN = 24;

export interface GridContent {
  readonly table: Table;
  readonly strings: Strings;
  readonly locale: string;
  readonly heat: Heat;
  readonly bits: readonly number[];
  readonly lines: readonly Line[];
  readonly selection: Selection;
  readonly pinned: ReadonlySet<number>;
  readonly suggested: readonly number[] | undefined;
  readonly compared: readonly number[] | undefined;
  readonly readOnly: boolean;
  readonly busy: boolean;
}

export interface Grid {
  readonly root: HTMLElement;
  show(content: GridContent): void;
  focus(): void;
}

export interface GridOptions {
  readonly onMeaning: (meaning: Meaning) => void;
  readonly onSelect: (selection: Selection) => void;
  /** A cell of a line was pressed. */
  readonly onBits: (line: number, bits: number) => void;
  readonly onPin: (line: number) => void;
}

interface Row {
  readonly kind: Line['kind'];
  readonly root: HTMLElement;
  update(index: number, content: GridContent): void;
}

export function layerGrid({ onMeaning, onSelect, onBits, onPin }: GridOptions): Grid {
  const head = element('div', { class: 'line head', role: 'row', 'aria-rowindex': 1 });
  const canvas = element('div', { class: 'canvas', role: 'rowgroup' });
  const scroller = element('div', { class: 'scroller', role: 'presentation', tabindex: -1 }, canvas);
  const nothing = element('p', { class: 'nothing muted', hidden: true });
  const root = element(
    'div',
    {
      class: 'grid',
      role: 'grid',
      'aria-multiselectable': 'true',
      // Nothing in it can be cut, copied or pasted: the editor shows no menu of these.
      'data-vscode-context': JSON.stringify({ preventDefaultContextMenuItems: true }),
    },
    head,
    scroller,
    nothing,
  );
  const drawn = new Map<number, Row>();
  const free: Row[] = [];
  let content: GridContent | undefined;
  let shape = '';
  let height = 0;

  const view = () => ({ top: scroller.scrollTop, height });

  function render(all: boolean): void {
    if (!content) return;
    const { lines, selection } = content;
    const [from, to] = windowOf(view(), LINE, lines.length, OVERSCAN);
    const wanted = (i: number) => (i >= from && i < to) || (i === selection.active && i < lines.length);
    for (const [i, row] of drawn) {
      if (wanted(i) && row.kind === lines[i]!.kind) continue;
      drawn.delete(i);
      // A line that has the focus would lose it by going.
      row.root.remove();
      free.push(row);
    }
    const draw = (i: number) => {
      const known = drawn.get(i);
      if (known && !all) return;
      const row = known ?? take(lines[i]!.kind);
      row.update(i, content!);
      drawn.set(i, row);
    };
    for (let i = from; i < to; i++) draw(i);
    if (selection.active < lines.length) draw(selection.active);
    insert();
  }

  /** Puts new lines where they belong: a screen reader reads the page in its order. The others stay, and keep the focus. */
  function insert(): void {
    let next = canvas.firstElementChild;
    for (const i of [...drawn.keys()].sort((a, b) => a - b)) {
      const { root: line } = drawn.get(i)!;
      if (line === next) next = next.nextElementSibling;
      else canvas.insertBefore(line, next);
    }
  }

  function take(kind: Line['kind']): Row {
    const at = free.findIndex((row) => row.kind === kind);
    if (at >= 0) return free.splice(at, 1)[0]!;
    const { table, locale } = content!;
    return kind === 'block' ? blockRow(table.bits.length) : layerRow(table.bits, locale);
  }

  function lineAt(event: Event): number | undefined {
    const index = (event.target as Element).closest<HTMLElement>('.canvas > .line')?.dataset.index;
    return index === undefined ? undefined : Number(index);
  }

  function show(next: GridContent): void {
    const { table, strings, lines, selection } = next;
    const moved = content?.selection.active !== selection.active;
    content = next;
    const labels = table.bits.map((bits) => formatWidth(bits, next.locale));
    const nextShape = JSON.stringify([table.bits, labels, strings.layer]);
    if (nextShape !== shape) {
      shape = nextShape;
      head.replaceChildren(...headCells(labels, strings));
      for (const row of drawn.values()) row.root.remove();
      drawn.clear();
      free.length = 0;
      root.style.setProperty('--widths', String(table.bits.length));
      root.style.setProperty('--characters', String(Math.max(1, ...labels.map(({ length }) => length))));
    }
    setAttributes(root, {
      'aria-label': strings.grid,
      'aria-description': strings.gridHelp,
      'aria-rowcount': lines.length + 1,
      'aria-busy': next.busy && 'true',
      'aria-readonly': next.readOnly && 'true',
    });
    root.classList.toggle('readonly', next.readOnly);
    nothing.hidden = lines.length > 0;
    nothing.textContent = strings.noMatch;
    canvas.style.height = `${lines.length * LINE}px`;
    const top = moved ? scrollTo(view(), LINE, selection.active) : undefined;
    if (top !== undefined) scroller.scrollTop = top;
    const hadFocus = canvas.contains(document.activeElement);
    render(true);
    if (hadFocus) focus();
  }

  function focus(): void {
    if (content) drawn.get(content.selection.active)?.root.focus({ preventScroll: true });
  }

  // Lines come in the frame of the scroll itself: after the event and before the next picture.
  scroller.addEventListener('scroll', () => render(false), { passive: true });
  new ResizeObserver(() => {
    height = scroller.clientHeight;
    root.style.setProperty('--scrollbar', `${scroller.offsetWidth - scroller.clientWidth}px`);
    render(false);
  }).observe(scroller);

  canvas.addEventListener('mousedown', (event) => {
    // Shift would select text.
    if (event.shiftKey) event.preventDefault();
  });
  canvas.addEventListener('click', (event) => {
    const line = lineAt(event);
    if (line === undefined || !content) return;
    const target = event.target as Element;
    const cell = target.closest<HTMLElement>('.bits');
    if (target.closest('.pin')) onPin(line);
    else if (cell && !event.shiftKey && !event.ctrlKey && !event.metaKey)
      onBits(line, Number(cell.dataset.bits));
    else
      onSelect(
        pick(content.selection, line, { shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey }),
      );
    focus();
  });
  root.addEventListener('keydown', (event) => {
    if (!content || event.altKey) return;
    const key = { key: event.key, shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey };
    const page = Math.max(1, Math.floor(height / LINE) - 1);
    const meaning = meaningOf(content.selection, key, content.lines.length, page);
    if (!meaning) return;
    event.preventDefault();
    event.stopPropagation();
    onMeaning(meaning);
    focus();
  });
  return { root, show, focus };
}

function headCells(labels: readonly string[], strings: Strings): HTMLElement[] {
  const cell = (name: string, text: string) => element('div', { class: name, role: 'columnheader' }, text);
  return [
    element('div', { class: 'pin', role: 'columnheader', 'aria-label': strings.pin }),
    cell('name', strings.layer),
    cell('share', strings.share),
    element('div', { class: 'widths', role: 'presentation' }, ...labels.map((label) => cell('bits', label))),
    cell('number', strings.cost),
    cell('number', strings.size),
  ];
}

/** Tabindex, selection and place: what lines of both kinds have. */
function place(root: HTMLElement, index: number, { selection }: GridContent): void {
  root.style.transform = `translateY(${index * LINE}px)`;
  root.dataset.index = String(index);
  const selected = selection.lines.has(index);
  setAttributes(root, {
    tabindex: index === selection.active ? 0 : -1,
    'aria-rowindex': index + 2,
    'aria-selected': String(selected),
  });
  root.classList.toggle('selected', selected);
  root.classList.toggle('odd', index % 2 === 1);
}

function blockRow(widths: number): Row {
  const name = element('div', { class: 'name', role: 'rowheader' });
  const count = element('div', { class: 'share muted', role: 'gridcell' });
  const average = element('div', { class: 'widths muted', role: 'gridcell', 'aria-colspan': widths });
  const cost = element('div', { class: 'number muted', role: 'gridcell' });
  const size = element('div', { class: 'number muted', role: 'gridcell' });
  const pin = element('div', { class: 'pin', role: 'gridcell' });
  const root = element('div', { class: 'line block', role: 'row' }, pin, name, count, average, cost, size);
  return {
    kind: 'block',
    root,
    update(index, content) {
      const line = content.lines[index]!;
      if (line.kind !== 'block') return;
      const { table, strings, locale } = content;
      const totals = totalsOf(
        partOf(table, line.layers),
        line.layers.map((i) => content.bits[i]!),
      );
      const mean = decimals(totals.averageBits, 2, locale);
      place(root, index, content);
      name.textContent = line.block;
      const several = line.layers.length !== 1;
      count.textContent = several ? fill(strings.blockLayers, line.layers.length) : strings.blockLayer;
      average.textContent = fill(strings.blockAverage, mean);
      cost.textContent = totals.cost === undefined ? '' : formatCost(totals.cost, locale);
      size.textContent = formatBytes(totals.bytes, locale);
      setAttributes(root, { 'aria-label': fill(strings.blockLabel, line.block, line.layers.length, mean) });
    },
  };
}

const partOf = (table: Table, layers: readonly number[]) => ({
  bits: table.bits,
  layers: layers.map((i) => table.layers[i]!),
  otherBytes: 0,
  ...(table.sensitivity && { sensitivity: { costs: layers.map((i) => table.sensitivity!.costs[i]!) } }),
});

function layerRow(widths: readonly number[], locale: string): Row {
  const pin = element('button', { class: 'pin', tabindex: -1, type: 'button' });
  const block = element('span', { class: 'of-block muted' });
  const own = element('span', { class: 'own' });
  const name = element('div', { class: 'name', role: 'rowheader' }, block, own);
  const bar = element('span', { class: 'bar' });
  const percent = element('span', { class: 'percent' });
  const share = element('div', { class: 'share', role: 'gridcell' }, bar, percent);
  const cells = widths.map((bits) =>
    element('div', { class: 'bits', role: 'gridcell', 'data-bits': bits }, formatWidth(bits, locale)),
  );
  const cost = element('div', { class: 'number', role: 'gridcell' });
  const size = element('div', { class: 'number', role: 'gridcell' });
  const root = element(
    'div',
    { class: 'line layer', role: 'row' },
    element('div', { class: 'pin-cell', role: 'gridcell' }, pin),
    name,
    share,
    element('div', { class: 'widths', role: 'presentation' }, ...cells),
    cost,
    size,
  );
  return {
    kind: 'layer',
    root,
    update(index, content) {
      const line = content.lines[index]!;
      if (line.kind !== 'layer') return;
      const { table, strings, heat } = content;
      const { layer: i } = line;
      const layer = table.layers[i]!;
      const bits = content.bits[i]!;
      const at = priceIndex(table.bits, bits);
      const costs = table.sensitivity?.costs[i];
      const weights = weightsOf(table);
      const part = weights > 0 ? layer.weights / weights : 0;
      const shared = formatPercent(part, locale, 0, { maximumFractionDigits: part < 0.1 ? 1 : 0 });
      const pinned = content.pinned.has(i);
      const [suggested, compared] = [content.suggested?.[i], content.compared?.[i]];
      place(root, index, content);
      block.hidden = !line.apart;
      block.textContent = line.apart ? shortBlock(table, layer.block) : '';
      own.textContent = nameWithin(layer.block, layer.name);
      name.title = `${layer.name}\n${layer.shape.join(' × ')}`;
      bar.style.width = `${(100 * layer.weights) / largestOf(table)}%`;
      percent.textContent = shared;
      cost.textContent = costs ? formatCost(costs[at]!, locale) : '–';
      size.textContent = formatBytes(layer.bytes[at]!, locale);
      pin.classList.toggle('on', pinned);
      setAttributes(pin, {
        'aria-label': pinned ? strings.unpin : strings.pin,
        title: pinned ? strings.unpin : strings.pin,
      });
      for (const [j, cell] of cells.entries()) {
        const width = table.bits[j]!;
        const level = heat.level(costs?.[j]);
        const marks = [
          'bits',
          ...(level === undefined ? [] : [`heat-${level}`]),
          ...(width === bits ? ['on'] : []),
          ...(width === suggested ? ['suggested'] : []),
          ...(compared !== undefined && width === compared ? ['compared'] : []),
        ];
        cell.className = marks.join(' ');
        const cellCost = costs ? `${fill(strings.rowCost, formatCost(costs[j]!, locale))} · ` : '';
        cell.title = `${fill(strings.selected, formatWidth(width, locale))} · ${cellCost}${formatBytes(layer.bytes[j]!, locale)}`;
      }
      const label = [
        fill(strings.rowLabel, nameWithin(layer.block, layer.name), formatWidth(bits, locale), layer.block),
        ...(costs ? [fill(strings.rowCost, formatCost(costs[at]!, locale))] : []),
        shared,
        ...(suggested !== undefined && suggested !== bits
          ? [fill(strings.rowSuggested, formatWidth(suggested, locale))]
          : []),
        ...(compared !== undefined && compared !== bits
          ? [fill(strings.rowCompared, formatWidth(compared, locale))]
          : []),
        ...(pinned ? [strings.rowPinned] : []),
      ];
      setAttributes(root, { 'aria-label': label.join(', ') });
      root.classList.toggle('differs', compared !== undefined && compared !== bits);
    },
  };
}

const sums = new WeakMap<Table, { readonly weights: number; readonly largest: number }>();

function sumsOf(table: Table) {
  const known = sums.get(table);
  if (known) return known;
  let [weights, largest] = [0, 1];
  for (const layer of table.layers) {
    weights += layer.weights;
    largest = Math.max(largest, layer.weights);
  }
  const found = { weights, largest };
  sums.set(table, found);
  return found;
}

const weightsOf = (table: Table): number => sumsOf(table).weights;
const largestOf = (table: Table): number => sumsOf(table).largest;

export const decimals = (value: number, digits: number, locale: string): string =>
  numberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** A divergence in nats: fixed digits down to a hundred-thousandth, so that a column lines up. */
export function formatCost(cost: number, locale: string): string {
  if (cost !== 0 && Math.abs(cost) < 5e-6) return formatTiny(cost);
  return decimals(cost, cost >= 10 ? 2 : cost >= 1 ? 3 : 5, locale);
}
