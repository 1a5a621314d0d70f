/** A line chart as SVG: one tab stop, arrow keys between its points, a tooltip for pointer and keyboard alike. */
import { element, followWidth, setAttributes, svg } from '../common/dom.js';
import { layout, nearest, neighbour, type Drawing, type Mark } from './layout.js';
import type { Chartable, Series } from './series.js';

export interface ChartContent {
  readonly axis: 'bits' | 'bytes';
  readonly data: Chartable;
  readonly title: string;
  readonly axisTitle: string;
  /** What screen readers say of the whole. */
  readonly summary: string;
  readonly share: boolean;
  readonly fullValue: number | undefined;
  /** Follows the title of a chart whose heights are logarithmic. */
  readonly logarithmicNote: string;
  formatValue(value: number): string;
  formatX(value: number): string;
  /** A point in words. */
  describe(mark: Mark, series: Pick<Series, 'label' | 'kind' | 'method'>): string;
}

export interface Chart {
  readonly root: HTMLElement;
  show(content: ChartContent): void;
  /** Marks the point of a row, wherever the pointer or the focus is. */
  highlight(key: string | undefined): void;
}

const HEIGHT = 300;

export function chart(options: { readonly helpId: string; onVisit(key: string | undefined): void }): Chart {
  const caption = element('figcaption');
  const tooltip = element('div', { class: 'tooltip', 'aria-hidden': 'true', hidden: true });
  const stage = element('div', { class: 'stage' }, tooltip);
  const root = element('figure', { class: 'chart' }, caption, stage);
  let content: ChartContent | undefined;
  let current: string | undefined;
  let width = 0;

  const draw = () => {
    if (!content || width === 0) return;
    const { axis, data, share, fullValue } = content;
    const drawing = layout(data, { size: { width, height: HEIGHT }, axis, share, value: fullValue });
    const hadFocus = stage.contains(document.activeElement);
    stage.querySelector('svg')?.remove();
    hideTooltip();
    caption.textContent = drawing.logarithmic ? `${content.title} ${content.logarithmicNote}` : content.title;
    stage.prepend(picture(drawing, content));
    if (hadFocus) focus(current);
  };

  const picture = (drawing: Drawing, shown: ChartContent) => {
    const { plot } = drawing;
    const marks = drawing.series.flatMap((s) => s.marks);
    // The point that Tab leads to.
    const stop = marks.find((mark) => mark.key === current)?.key ?? drawing.series.at(-1)?.marks[0]?.key;
    const picture = svg(
      'svg',
      {
        width,
        height: HEIGHT,
        viewBox: `0 0 ${width} ${HEIGHT}`,
        role: 'group',
        'aria-label': shown.summary,
        'aria-describedby': options.helpId,
      },
      svg(
        'g',
        { class: 'axes', 'aria-hidden': 'true' },
        ...drawing.y.flatMap(({ value, at }) => [
          svg('line', { class: 'rule', x1: plot.left, x2: plot.right, y1: at, y2: at }),
          svg('text', { class: 'tick y', x: plot.left - 8, y: at }, shown.formatValue(value)),
        ]),
        svg('line', { class: 'base', x1: plot.left, x2: plot.right, y1: plot.bottom, y2: plot.bottom }),
        ...drawing.x.flatMap(({ value, at }) => [
          svg('line', { class: 'base', x1: at, x2: at, y1: plot.bottom, y2: plot.bottom + 4 }),
          svg('text', { class: 'tick x', x: at, y: plot.bottom + 18 }, shown.formatX(value)),
        ]),
        svg('text', { class: 'title', x: (plot.left + plot.right) / 2, y: HEIGHT - 4 }, shown.axisTitle),
        drawing.full !== undefined &&
          svg('line', { class: 'full', x1: plot.left, x2: plot.right, y1: drawing.full, y2: drawing.full }),
      ),
      ...drawing.series.map((series) =>
        svg(
          'g',
          { class: `series ${lookOf(series)}` },
          svg('path', { class: 'line', d: path(series.marks), 'aria-hidden': 'true' }),
          ...series.marks.map((mark) =>
            svg(
              'g',
              {
                class: 'mark',
                role: 'img',
                tabindex: mark.key === stop ? 0 : -1,
                'aria-label': shown.describe(mark, series),
                'data-key': mark.key,
                transform: `translate(${mark.x} ${mark.y})`,
              },
              svg('circle', { class: 'target', r: 14 }),
              symbol(series),
            ),
          ),
        ),
      ),
    );
    const markAt = (event: Event) => {
      const key = (event.target as Element).closest<SVGElement>('.mark')?.dataset.key;
      return marks.find((mark) => mark.key === key);
    };
    picture.addEventListener('pointermove', (event) => {
      const { left, top } = picture.getBoundingClientRect();
      visit(nearest(drawing, event.clientX - left, event.clientY - top));
    });
    picture.addEventListener('pointerleave', () => visit(undefined));
    picture.addEventListener('focusin', (event) => visit(markAt(event)));
    picture.addEventListener('focusout', () => visit(undefined));
    picture.addEventListener('keydown', (event) => {
      const next = neighbour(drawing, current, event.key);
      if (!next) return;
      event.preventDefault();
      focus(next.key);
    });
    return picture;
  };

  const visit = (mark: Mark | undefined) => {
    if (mark) current = mark.key;
    options.onVisit(mark?.key);
  };

  const focus = (key: string | undefined) => {
    for (const mark of stage.querySelectorAll<SVGElement>('.mark')) {
      setAttributes(mark, { tabindex: mark.dataset.key === key ? 0 : -1 });
      if (mark.dataset.key === key) mark.focus();
    }
  };

  const hideTooltip = () => {
    tooltip.hidden = true;
  };

  followWidth(stage, (next) => {
    width = next;
    draw();
  });

  return {
    root,
    show(next) {
      content = next;
      draw();
    },
    highlight(key) {
      hideTooltip();
      for (const mark of stage.querySelectorAll<SVGGElement>('.mark')) {
        const on = mark.dataset.key === key;
        mark.classList.toggle('on', on);
        if (!on) continue;
        tooltip.textContent = mark.getAttribute('aria-label');
        tooltip.hidden = false;
        const at = mark.transform.baseVal.consolidate()!.matrix;
        const half = tooltip.offsetWidth / 2;
        tooltip.style.left = `${Math.min(width - half, Math.max(half, at.e))}px`;
        tooltip.style.top = `${at.f}px`;
        tooltip.classList.toggle('below', at.f < 60);
      }
    },
  };
}

/** A sample of a series' line, for the legend. */
export function swatch(series: Pick<Series, 'kind' | 'look'>): SVGSVGElement {
  return svg(
    'svg',
    {
      class: `swatch series ${lookOf(series)}`,
      width: 28,
      height: 14,
      viewBox: '-14 -7 28 14',
      'aria-hidden': 'true',
    },
    svg('path', { class: 'line', d: 'M-14 0H14' }),
    symbol(series),
  );
}

export const fullSwatch = (): SVGSVGElement =>
  svg(
    'svg',
    { class: 'swatch', width: 28, height: 14, viewBox: '-14 -7 28 14', 'aria-hidden': 'true' },
    svg('path', { class: 'full', d: 'M-14 0H14' }),
  );

/** Colours and symbols repeat after six adapter sets, but not together. */
const lookOf = ({ kind, look }: Pick<Series, 'kind' | 'look'>): string =>
  kind === 'baseline' ? `baseline-${look % 2}` : `look-${look % 6}${kind === 'exported' ? ' exported' : ''}`;

const SYMBOLS = [
  'M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z',
  'M-4 -4H4V4H-4Z',
  'M0 -5L5 4H-5Z',
  'M0 -5.5L5.5 0L0 5.5L-5.5 0Z',
];
function symbol({ look }: Pick<Series, 'look'>): SVGPathElement {
  return svg('path', { class: 'symbol', d: SYMBOLS[look % SYMBOLS.length]! });
}

const path = (marks: readonly Mark[]): string =>
  marks.map(({ x, y }, i) => `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
