/** Where everything of a chart lies, in pixels of a given size. No DOM. */
import { MAX_BITS, MIN_BITS } from '../../engine/plans/bits.js';
import type { Chartable, Point, Series } from './series.js';
import { linearScale, valueScale, type Scale } from '../common/scales.js';

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Tick {
  readonly value: number;
  /** Pixels from the left or the top. */
  readonly at: number;
}

export interface Mark extends Point {
  readonly x: number;
  readonly y: number;
}

export interface Drawing {
  readonly plot: {
    readonly left: number;
    readonly top: number;
    readonly right: number;
    readonly bottom: number;
  };
  readonly x: readonly Tick[];
  readonly y: readonly Tick[];
  readonly logarithmic: boolean;
  /** Height of the full-precision line. */
  readonly full?: number;
  readonly series: readonly (Omit<Series, 'points'> & { readonly marks: readonly Mark[] })[];
}

const MARGIN = { left: 58, right: 18, top: 14, bottom: 42 };
/** Points keep this distance from the sides of the plot. */
const PADDING = 14;
/** How far from a mark a pointer still means it. */
const REACH = 32;
/** Room that a tick's label needs. */
const LABEL_WIDTH = 64;

/** Series against average bits (a tick at each whole number) or against size in bytes. */
export function layout(
  { full, series }: Chartable,
  options: {
    readonly size: Size;
    readonly axis: 'bits' | 'bytes';
    readonly value: number | undefined;
    readonly share: boolean;
  },
): Drawing {
  const { width, height } = options.size;
  const plot = {
    left: MARGIN.left,
    top: MARGIN.top,
    right: width - MARGIN.right,
    bottom: height - MARGIN.bottom,
  };
  const points = series.flatMap((s) => s.points);
  const values = points.map((point) => point.value);
  const reference =
    full && options.value !== undefined && Number.isFinite(options.value) ? options.value : undefined;
  const y = valueScale(reference === undefined ? values : [...values, reference], options);
  const inner = Math.max(1, plot.right - plot.left - 2 * PADDING);
  const x =
    options.axis === 'bits'
      ? bitScale(points)
      : linearScale(
          points.map((p) => p.bytes),
          { count: Math.max(2, Math.floor(inner / LABEL_WIDTH)) },
        );
  const toX = (value: number) => plot.left + PADDING + x.at(value) * inner;
  const toY = (value: number) => plot.bottom - y.at(value) * (plot.bottom - plot.top);
  return {
    plot,
    x: x.ticks.map((value) => ({ value, at: toX(value) })),
    y: y.ticks.map((value) => ({ value, at: toY(value) })),
    logarithmic: y.logarithmic,
    ...(reference !== undefined && { full: toY(reference) }),
    series: series.map(({ points, ...rest }) => ({
      ...rest,
      marks: points.map((point) => ({
        ...point,
        x: toX(options.axis === 'bits' ? point.average : point.bytes),
        y: toY(point.value),
      })),
    })),
  };
}

function bitScale(points: readonly Point[]): Scale {
  const bits = points.map((point) => point.average);
  const [low, high] =
    bits.length > 0 ? [Math.floor(Math.min(...bits)), Math.ceil(Math.max(...bits))] : [MIN_BITS, MAX_BITS];
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  return {
    domain: [low, high],
    ticks,
    logarithmic: false,
    at: (value) => (high > low ? (value - low) / (high - low) : 0.5),
  };
}

/** The mark that a pointer means: the closest one within reach, of several at one place that in front. */
export function nearest(drawing: Drawing, x: number, y: number): Mark | undefined {
  let [best, least] = [undefined as Mark | undefined, REACH];
  for (const mark of drawing.series.flatMap(({ marks }) => marks)) {
    const distance = Math.hypot(mark.x - x, mark.y - y);
    if (distance <= least) [best, least] = [mark, distance];
  }
  return best;
}

/** The mark that an arrow key leads to: left and right along a series, up and down to the nearest of the next series. */
export function neighbour(drawing: Drawing, key: string | undefined, arrow: string): Mark | undefined {
  const lines = drawing.series.filter(({ marks }) => marks.length > 0).map(({ marks }) => marks);
  const line = lines.findIndex((marks) => marks.some((mark) => mark.key === key));
  const marks = lines[line];
  if (!marks) return lines.at(-1)?.[0];
  const index = marks.findIndex((mark) => mark.key === key);
  const from = marks[index]!;
  switch (arrow) {
    case 'ArrowLeft':
      return marks[Math.max(0, index - 1)];
    case 'ArrowRight':
      return marks[Math.min(marks.length - 1, index + 1)];
    case 'Home':
      return marks[0];
    case 'End':
      return marks.at(-1);
    case 'ArrowUp':
    case 'ArrowDown': {
      const next = lines[(line + (arrow === 'ArrowUp' ? lines.length - 1 : 1)) % lines.length]!;
      return next.reduce((best, mark) =>
        Math.abs(mark.x - from.x) < Math.abs(best.x - from.x) ? mark : best,
      );
    }
    default:
      return undefined;
  }
}
