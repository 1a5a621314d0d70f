import { describe, expect, it } from 'vitest';
import { layout, nearest, neighbour } from './layout.js';
import { metricsOf } from './metrics.js';
import { chartable } from './series.js';
import { full, rounding, row } from './testing.js';

const rows = [
  full,
  rounding(8, 0.88),
  rounding(2, 0.6),
  row('a', 8, 0.88),
  row('a', 4, 0.87),
  row('a', 2, 0.85),
];
const data = chartable(rows, metricsOf(rows, 'image-classification')[0]!);
const options = { size: { width: 480, height: 300 }, axis: 'bits', value: full.top1, share: true } as const;
const drawing = layout(data, options);

describe('layout', () => {
  it('places every point inside the plot, higher values higher', () => {
    const { plot } = drawing;
    for (const mark of drawing.series.flatMap((s) => s.marks)) {
      expect(mark.x).toBeGreaterThan(plot.left);
      expect(mark.x).toBeLessThan(plot.right);
      expect(mark.y).toBeGreaterThanOrEqual(plot.top);
      expect(mark.y).toBeLessThanOrEqual(plot.bottom);
    }
    const [low, , high] = drawing.series[1]!.marks;
    expect(high!.y).toBeLessThan(low!.y);
    expect(drawing.full).toBeCloseTo(high!.y);
  });

  it('has a tick for every bit-width, and a few round sizes', () => {
    expect(drawing.x.map((tick) => tick.value)).toEqual([2, 3, 4, 5, 6, 7, 8]);
    const sizes = layout(data, { ...options, axis: 'bytes' });
    expect(sizes.x.length).toBeGreaterThan(2);
    expect(sizes.x.every(({ value }) => value % 50_000 === 0)).toBe(true);
    expect(sizes.series[1]!.marks.map((m) => m.x)).toEqual(
      [...sizes.series[1]!.marks.map((m) => m.x)].sort((a, b) => a - b),
    );
  });

  it('has ticks at the whole numbers around fractions of a bit', () => {
    const some = [full, row('a', 2.3, 0.8), row('a', 1.08, 0.7), row('a', 4, 0.9)];
    const { x, series, plot } = layout(chartable(some, metricsOf(rows, 'image-classification')[0]!), options);
    expect(x.map((tick) => tick.value)).toEqual([1, 2, 3, 4]);
    const places = series[0]!.marks.map((mark) => mark.x);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places[0]).toBeGreaterThan(x[0]!.at);
    expect(places[1]).toBeCloseTo(x[1]!.at + 0.3 * (x[2]!.at - x[1]!.at), 6);
    expect(places[2]).toBeLessThan(plot.right);
  });

  it('stands a single bit-width in the middle, and no rows at all', () => {
    const one = layout(chartable([row('a', 4, 0.8)], metricsOf(rows, 'image-classification')[0]!), options);
    expect(one.series[0]!.marks[0]!.x).toBeCloseTo((one.plot.left + one.plot.right) / 2, 0);
    expect(layout({ series: [] }, { ...options, value: undefined }).series).toEqual([]);
  });
});

describe('neighbour', () => {
  const from = (key: string | undefined, arrow: string) => neighbour(drawing, key, arrow)?.key;

  it('goes along a series and stops at its ends', () => {
    expect(from('adapters/4/a', 'ArrowLeft')).toBe('adapters/2/a');
    expect(from('adapters/2/a', 'ArrowLeft')).toBe('adapters/2/a');
    expect(from('adapters/2/a', 'End')).toBe('adapters/8/a');
  });

  it('changes series at the nearest bit-width, round and round', () => {
    expect(from('adapters/8/a', 'ArrowUp')).toBe('baseline/8/rounding');
    expect(from('adapters/8/a', 'ArrowDown')).toBe('baseline/8/rounding');
  });

  it('enters at the front series and ignores other keys', () => {
    expect(from(undefined, 'ArrowRight')).toBe('adapters/2/a');
    expect(from('adapters/4/a', 'Enter')).toBeUndefined();
  });
});

describe('nearest', () => {
  it('is the closest mark within reach, the one in front where several lie at one place', () => {
    const { x, y } = drawing.series[1]!.marks[2]!;
    expect(nearest(drawing, x + 3, y + 3)?.key).toBe('adapters/8/a');
    const low = drawing.series[0]!.marks[0]!;
    expect(nearest(drawing, low.x, low.y - 20)?.key).toBe('baseline/2/rounding');
    expect(nearest(drawing, low.x + 100, low.y)).toBeUndefined();
  });
});
