import { describe, expect, it } from 'vitest';
import { klDivergence } from '../divergence.js';
import { classificationScorer } from './classification.js';

const row = (...logits: number[]) => Float32Array.from(logits);

/** Scores of single samples: their logits, and a label each. */
function score(classes: number, ...samples: [readonly number[], number][]) {
  const scorer = classificationScorer(classes);
  for (const [logits, label] of samples) scorer.add(row(...logits), undefined, Int32Array.of(label), 1);
  return scorer.scores();
}

describe('the error of top-1', () => {
  const [right, wrong] = [
    [1, 0],
    [0, 1],
  ];
  const add = (scorer: ReturnType<typeof classificationScorer>, pairs: (readonly number[])[][]) => {
    for (const [own, reference] of pairs)
      scorer.add(row(...own!), reference && row(...reference), Int32Array.of(0), 1);
    return scorer.scores();
  };

  it('is that of the difference from the reference on the same samples', () => {
    const scores = add(classificationScorer(2), [[right, right], [wrong, right], [wrong, wrong], [right, wrong], [wrong, right]]); // prettier-ignore
    expect(scores.scoreError).toBeCloseTo(Math.sqrt((3 - 1 / 5) / 20), 12);
    expect(add(classificationScorer(2), [[right, right], [wrong, wrong]])).not.toHaveProperty('scoreError'); // prettier-ignore
  });

  it('is unknown without a reference, without labels and from one sample', () => {
    expect(add(classificationScorer(2), [[right], [wrong]])).not.toHaveProperty('scoreError');
    expect(add(classificationScorer(2), [[right, wrong]])).not.toHaveProperty('scoreError');
    const scorer = classificationScorer(2);
    scorer.add(row(...right, ...wrong), row(...wrong, ...wrong), Int32Array.of(-1, -1), 2);
    expect(scorer.scores()).not.toHaveProperty('scoreError');
  });
});

describe('top-1 and top-5', () => {
  it('count the labelled samples alone', () => {
    const sevenClasses = [7, 6, 5, 4, 3, 2, 1];
    const labels = [0, 1, 4, 5, -1];
    expect(score(7, ...labels.map((label): [number[], number] => [sevenClasses, label]))).toEqual({
      samples: 5,
      top1: 1 / 4,
      top5: 3 / 4,
      kl: undefined,
    });
  });

  it('are undefined without labels', () => {
    expect(score(2, [[1, 0], -1])).toEqual({ samples: 1, top1: undefined, top5: undefined, kl: undefined });
    expect(classificationScorer(2).scores()).toEqual({
      samples: 0,
      top1: undefined,
      top5: undefined,
      kl: undefined,
    });
  });

  it.each([
    ['the first of equals is right', 0, 1, 1],
    ['the second of equals is wrong', 1, 0, 1],
    ['the fifth of equals is among five', 4, 0, 1],
    ['the sixth of equals is not', 5, 0, 0],
  ])('on a tie, %s', (_, label, top1, top5) => {
    expect(score(6, [[2, 2, 2, 2, 2, 2], label])).toMatchObject({ top1, top5 });
  });

  it.each<[string, number[], number, number, number]>([
    ['loses where it is the label', [NaN, 1, 0, 0, 0, 0, 0], 0, 0, 0],
    ['does not beat the label', [1, NaN, NaN, 0, 0, 0, 0], 0, 1, 1],
    ['loses among fewer than five classes', [NaN, 0, 0], 0, 0, 0],
    ['loses where all are none', [NaN, NaN, NaN], 1, 0, 0],
  ])('a logit that is NaN %s', (_, logits, label, top1, top5) => {
    expect(score(logits.length, [logits, label])).toMatchObject({ top1, top5 });
  });

  it('are always among five with fewer than five classes', () => {
    expect(score(3, [[3, 2, 1], 2])).toMatchObject({ top1: 0, top5: 1 });
  });

  it('rank infinite logits as the extremes they are', () => {
    expect(score(2, [[-Infinity, 0], 0], [[Infinity, 0], 0])).toMatchObject({ top1: 1 / 2 });
  });

  it('read no sample beyond the count of a batch filled up', () => {
    const scorer = classificationScorer(2);
    scorer.add(row(1, 0, 0, 1, 9, 9), row(1, 0, 1, 0, 0, 50), Int32Array.of(0, 0, 1), 2);
    scorer.add(row(0, 1), row(0, 1), Int32Array.of(1), 1);
    const apart = klDivergence(row(1, 0), row(0, 1));
    expect(scorer.scores()).toMatchObject({ samples: 3, top1: 2 / 3, top5: 1, kl: apart / 3 });
  });
});

describe('divergence', () => {
  it('is that of the probabilities, by hand', () => {
    // softmax of logs of (1, 3) and (1, 1): (1/4, 3/4) and (1/2, 1/2).
    const expected = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
    expect(klDivergence(row(0, Math.log(3)), row(5, 5))).toBeCloseTo(expected, 7);
    expect(klDivergence(row(5, 5), row(0, Math.log(3)))).toBeCloseTo(
      0.5 * Math.log(2) + 0.5 * Math.log(2 / 3),
      7,
    );
  });

  it('is zero between logits that differ by a constant, and never negative', () => {
    expect(klDivergence(row(1, 2, 3), row(1, 2, 3))).toBe(0);
    expect(klDivergence(row(1, 2, 3), row(101, 102, 103))).toBeCloseTo(0, 12);
    expect(klDivergence(row(1, 2, 3), row(1, 2, 3.001))).toBeGreaterThan(0);
  });

  it('stays finite at the ends of float32', () => {
    const huge = 3e38;
    expect(klDivergence(row(huge, -huge), row(huge, -huge))).toBe(0);
    expect(klDivergence(row(0, 0), row(huge, -huge)) / huge).toBeCloseTo(1, 6);
  });

  it('takes a class of probability zero for nothing, and its opposite for infinite', () => {
    expect(klDivergence(row(0, -Infinity), row(0, -Infinity))).toBe(0);
    expect(klDivergence(row(0, -Infinity), row(0, 0))).toBeCloseTo(Math.log(2), 12);
    expect(klDivergence(row(0, 0), row(0, -Infinity))).toBe(Infinity);
  });

  it('does not hide a logit that is NaN', () => {
    expect(klDivergence(row(0, 1), row(0, NaN))).toBeNaN();
    expect(klDivergence(row(NaN, 1), row(0, 1))).toBeNaN();
  });
});
