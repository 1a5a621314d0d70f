import { describe, expect, it } from 'vitest';
import { linearScale, logScale, valueScale } from './scales.js';

describe('linearScale', () => {
  it('ends at round values around all others', () => {
    const { domain, ticks } = linearScale([0.592, 0.877, 0.84]);
    expect(domain).toEqual([0.5, 0.9]);
    expect(ticks).toEqual([0.5, 0.6, 0.7, 0.8, 0.9]);
  });

  it('maps its domain to 0 and 1', () => {
    const { at, domain } = linearScale([3, 17]);
    expect([at(domain[0]), at((domain[0] + domain[1]) / 2), at(domain[1])]).toEqual([0, 0.5, 1]);
  });

  it('does not go beyond a maximum', () => {
    expect(linearScale([0.9, 0.999], { max: 1 }).ticks.at(-1)).toBe(1);
    expect(linearScale([0.62, 1], { max: 1 }).ticks.at(-1)).toBe(1);
  });

  it('begins at zero where it must', () => {
    expect(linearScale([40, 50], { zero: true }).domain[0]).toBe(0);
  });

  it('gives one value alone, zero included, a height', () => {
    for (const value of [0.5, 0, 38.6, -2]) {
      const scale = linearScale([value]);
      expect(scale.domain[1]).toBeGreaterThan(scale.domain[0]);
      expect(scale.at(value)).toBeGreaterThanOrEqual(0);
      expect(scale.at(value)).toBeLessThanOrEqual(1);
    }
  });

  it('stands without values, and without numbers', () => {
    expect(linearScale([]).ticks.length).toBeGreaterThan(1);
    expect(linearScale([NaN, Infinity]).domain).toEqual([0, 1]);
  });

  it('keeps ticks free of binary noise', () => {
    expect(linearScale([0.1, 0.7], { count: 6 }).ticks).toEqual([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]);
  });
});

describe('logScale', () => {
  it('has one tick per decade over many, and finer ones over few', () => {
    expect(logScale([0.00006, 0.72]).ticks).toEqual([0.00001, 0.0001, 0.001, 0.01, 0.1, 1]);
    expect(logScale([38, 90]).ticks).toEqual([20, 50, 100]);
  });

  it('never has more than seven', () => {
    expect(logScale([1e-12, 1e9]).ticks.length).toBeLessThanOrEqual(7);
  });

  it('puts equal factors at equal distances, and zero at the start', () => {
    const { at, domain } = logScale([0.001, 10]);
    expect(at(domain[0])).toBe(0);
    expect(at(domain[1])).toBeCloseTo(1);
    expect(at(0.1) - at(0.01)).toBeCloseTo(at(10) - at(1));
    expect(at(0)).toBe(0);
  });
});

describe('valueScale', () => {
  it('is logarithmic where values lie far apart', () => {
    expect(valueScale([38, 40, 52], { share: false }).logarithmic).toBe(false);
    expect(valueScale([38, 40, 900], { share: false }).logarithmic).toBe(true);
    expect(valueScale([0, 0.0001, 0.7], { share: false }).logarithmic).toBe(true);
    expect(valueScale([0.01, 0.9], { share: true }).logarithmic).toBe(false);
    expect(valueScale([0, 0], { share: false }).logarithmic).toBe(false);
  });
});
