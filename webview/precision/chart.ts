/** Size against predicted cost: the frontier, uniform plans, the plan itself; a slider moves along it. */
import { element, followWidth, setAttributes, svg } from '../common/dom.js';
import { formatTiny, formatWidth, numberFormat } from '../../engine/plans/numbers.js';
import { fill, formatBytes } from '../common/text.js';
import { bestWithin, chartLayout, indexOf, nearestAlong, someOf } from './frontier.js';
import { decimals, formatCost } from './grid.js';
import type { FrontierPoint, Strings } from './protocol.js';

export interface Spot {
  readonly bytes: number;
  readonly cost: number;
}

export interface ChartContent {
  readonly strings: Strings;
  readonly locale: string;
  readonly points: readonly FrontierPoint[];
  /** Its bits as those of points are written. */
  readonly current: Spot & { readonly averageBits: number; readonly bits: string };
  readonly uniform: readonly (Spot & { readonly bits: number })[];
  readonly compared: (Spot & { readonly name: string }) | undefined;
  readonly readOnly: boolean;
}

export interface FrontierChart {
  readonly root: HTMLElement;
  show(content: ChartContent): void;
}

const HEIGHT = 190;
const TABLE_ROWS = 25;

export function frontierChart(options: {
  /** While the slider is dragged; undefined once it is let go. */
  readonly onPreview: (point: FrontierPoint | undefined) => void;
  readonly onApply: (point: FrontierPoint) => void;
}): FrontierChart {
  const stage = element('div', { class: 'stage' });
  const slider = element('input', { type: 'range', class: 'slider', min: 0, step: 1, id: 'budget' });
  const label = element('label', { for: 'budget' });
  const value = element('output', { class: 'number', for: 'budget' });
  const summary = element('summary');
  const rows = element('tbody');
  const headings = element('tr');
  const table = element('table', {}, element('thead', {}, headings), rows);
  const scroll = element('div', { class: 'scroll', role: 'region', tabindex: 0 }, table);
  const details = element('details', { class: 'table' }, summary, scroll);
  const none = element('p', { class: 'muted' });
  const controls = element('div', { class: 'budget' }, label, value, slider);
  const root = element('div', { class: 'frontier' }, none, stage, controls, details);
  let content: ChartContent | undefined;
  let tabled: readonly FrontierPoint[] | undefined;
  let width = 0;

  slider.addEventListener('input', () => {
    const point = content?.points[Number(slider.value)];
    if (point) options.onPreview(point);
  });
  slider.addEventListener('change', () => {
    const point = content?.points[Number(slider.value)];
    if (point) options.onApply(point);
  });
  // Let go where it was, it has not changed.
  for (const type of ['pointerup', 'pointercancel'])
    slider.addEventListener(type, () => options.onPreview(undefined));
  stage.addEventListener('click', (event) => {
    if (!content || content.readOnly || content.points.length === 0) return;
    const drawing = layoutOf(content, width);
    const at = nearestAlong(drawing.points, event.clientX - stage.getBoundingClientRect().left);
    options.onApply(content.points[at]!);
  });
  followWidth(stage, (next) => {
    width = next;
    draw();
  });

  function draw(): void {
    if (!content || width === 0 || content.points.length === 0) return stage.replaceChildren();
    stage.replaceChildren(picture(content, width));
  }

  return {
    root,
    show(next) {
      const { strings, locale, points, current } = next;
      content = next;
      const empty = points.length === 0;
      none.hidden = !empty;
      none.textContent = strings.frontierNone;
      for (const part of [stage, controls, details]) part.hidden = empty;
      draw();
      if (empty) return;
      const exact = indexOf(points, current.bits);
      const at = exact >= 0 ? exact : bestWithin(points, current.bytes);
      label.textContent = strings.budget;
      setAttributes(slider, { max: points.length - 1, disabled: next.readOnly });
      if (document.activeElement !== slider || exact >= 0) slider.value = String(at);
      const text = fill(
        strings.budgetValue,
        decimals(current.averageBits, 2, locale),
        formatBytes(current.bytes, locale),
      );
      value.textContent = text;
      setAttributes(slider, {
        'aria-valuetext': `${text}, ${fill(strings.rowCost, formatCost(current.cost, locale))}`,
      });
      summary.textContent = strings.frontierTable;
      setAttributes(scroll, { 'aria-label': strings.frontierTable });
      if (tabled === points) return;
      tabled = points;
      headings.replaceChildren(
        ...[strings.averageBits, strings.size, strings.predictedCost].map((text) =>
          element('th', { scope: 'col' }, text),
        ),
      );
      rows.replaceChildren(
        ...someOf(points, TABLE_ROWS).map(({ averageBits, bytes, cost }) =>
          element(
            'tr',
            {},
            ...[decimals(averageBits, 2, locale), formatBytes(bytes, locale), formatCost(cost, locale)].map(
              (text) => element('td', {}, text),
            ),
          ),
        ),
      );
    },
  };
}

const layoutOf = ({ points, uniform, current, compared }: ChartContent, width: number) =>
  chartLayout(points, [...uniform, current, ...(compared ? [compared] : [])], { width, height: HEIGHT });

function picture(content: ChartContent, width: number): SVGSVGElement {
  const { strings, locale, uniform, current, compared } = content;
  const drawing = layoutOf(content, width);
  const { plot, x, y, points } = drawing;
  const at = drawing.place(current);
  const line = points.map((p, i) => `${i === 0 ? 'M' : 'L'}${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join('');
  const other = compared && drawing.place(compared);
  return svg(
    'svg',
    {
      width,
      height: HEIGHT,
      viewBox: `0 0 ${width} ${HEIGHT}`,
      role: 'img',
      'aria-label': fill(
        strings.frontier,
        decimals(current.averageBits, 2, locale),
        formatBytes(current.bytes, locale),
        formatCost(current.cost, locale),
      ),
    },
    ...y.map(({ at: top }) =>
      svg('line', { class: 'rule', x1: plot.left, x2: plot.right, y1: top, y2: top }),
    ),
    ...y.map(({ value, at: top }) =>
      svg('text', { class: 'tick y', x: plot.left - 7, y: top }, formatTick(value, locale)),
    ),
    svg('line', { class: 'base', x1: plot.left, x2: plot.right, y1: plot.bottom, y2: plot.bottom }),
    ...x.map(({ value, at: left }) =>
      svg('text', { class: 'tick x', x: left, y: plot.bottom + 16 }, formatBytes(value, locale)),
    ),
    svg('path', {
      class: 'area',
      d: `${line}L${points.at(-1)!.x} ${plot.bottom}L${points[0]!.x} ${plot.bottom}Z`,
    }),
    svg('path', { class: 'line', d: line }),
    ...uniform.map((spot) => {
      const { x: left, y: top } = drawing.place(spot);
      return svg(
        'g',
        { class: 'uniform', transform: `translate(${left} ${top})` },
        svg('title', {}, fill(strings.uniform, formatWidth(spot.bits, locale))),
        svg('circle', { r: 3 }),
        svg('text', { x: 6, y: -5 }, formatWidth(spot.bits, locale)),
      );
    }),
    other &&
      svg('circle', { class: 'other', cx: other.x, cy: other.y, r: 5.5 }, svg('title', {}, compared.name)),
    svg('line', { class: 'drop', x1: at.x, x2: at.x, y1: at.y, y2: plot.bottom }),
    svg('circle', { class: 'now', cx: at.x, cy: at.y, r: 5.5 }, svg('title', {}, strings.current)),
  );
}

const formatTick = (value: number, locale: string): string =>
  value !== 0 && value < 0.001
    ? formatTiny(value)
    : numberFormat(locale, { maximumSignificantDigits: 2 }).format(value);
