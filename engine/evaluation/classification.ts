import { klDivergence } from '../divergence.js';

/** Scores of image classification: top-1, top-5, and the divergence from the full-precision prediction. */

export interface ClassificationScores {
  readonly samples: number;
  /** Shares of 0 to 1 of the labelled samples; undefined where none has a label. */
  readonly top1: number | undefined;
  readonly top5: number | undefined;
  /** Mean KL(p_full ‖ p) in nats over the softmax of the logits; undefined without a reference. */
  readonly kl: number | undefined;
}

/** Collects scores batch by batch, in float64. */
export interface Scorer {
  /** @param logits,reference [count, classes] @param labels class numbers, -1 for none */
  add(logits: Float32Array, reference: Float32Array | undefined, labels: Int32Array, count: number): void;
  scores(): ClassificationScores;
}

export function classificationScorer(classes: number): Scorer {
  let [samples, labelled, first, amongFive, compared, divergence] = [0, 0, 0, 0, 0, 0];
  return {
    add: (logits, reference, labels, count) => {
      for (let i = 0; i < count; i++) {
        const row = logits.subarray(i * classes, (i + 1) * classes);
        samples++;
        const label = labels[i]!;
        if (label >= 0) {
          const rank = rankOf(row, label);
          labelled++;
          if (rank < 1) first++;
          if (rank < 5) amongFive++;
        }
        if (reference) {
          compared++;
          divergence += klDivergence(reference.subarray(i * classes, (i + 1) * classes), row);
        }
      }
    },
    scores: () => ({
      samples,
      top1: labelled > 0 ? first / labelled : undefined,
      top5: labelled > 0 ? amongFive / labelled : undefined,
      kl: compared > 0 ? divergence / compared : undefined,
    }),
  };
}

/** How many classes score higher than `label`; of equals the lower class number comes first. A logit that is no number loses. */
function rankOf(logits: Float32Array, label: number): number {
  const own = logits[label]!;
  if (Number.isNaN(own)) return Infinity;
  let rank = 0;
  for (let c = 0; c < logits.length; c++) if (logits[c]! > own || (logits[c] === own && c < label)) rank++;
  return rank;
}
