import { klDivergence } from '../divergence.js';
import { errorOfSums, finite, type Scored } from './paired-error.js';

/** Scores of image classification: top-1, top-5, and the divergence from the full-precision prediction. */

export interface ClassificationScores {
  readonly samples: number;
  /** Shares of 0 to 1 of the labelled samples; absent where none has a label. */
  readonly top1?: number;
  readonly top5?: number;
  /** Mean KL(p_full ‖ p) in nats over the softmax of the logits; absent without a reference. */
  readonly kl?: number;
  /** Standard error of how far top-1 is from the reference's; absent without a reference, and from a single sample. */
  readonly scoreError?: number;
}

/** Collects scores batch by batch, in float64. */
export interface Scorer {
  /** @param logits,reference [count, classes] @param labels class numbers, -1 for none */
  add(logits: Float32Array, reference: Float32Array | undefined, labels: Int32Array, count: number): void;
  scores(): ClassificationScores;
  /** Whether each labelled sample's class was found, 0 or 1, and each sample's divergence where there is a reference. */
  samples(): Scored['samples'];
}

export function classificationScorer(classes: number): Scorer {
  let [samples, first, amongFive, divergence] = [0, 0, 0, 0];
  const [found, divergences]: [number[], number[]] = [[], []];
  /** Labelled samples with a reference: all, those right here alone, and those right in the reference alone. */
  let [paired, gained, lost] = [0, 0, 0];
  return {
    add: (logits, reference, labels, count) => {
      for (let i = 0; i < count; i++) {
        const row = logits.subarray(i * classes, (i + 1) * classes);
        samples++;
        const label = labels[i]!;
        const other = reference?.subarray(i * classes, (i + 1) * classes);
        if (label >= 0) {
          const rank = rankOf(row, label);
          found.push(Number(rank < 1));
          if (rank < 1) first++;
          if (rank < 5) amongFive++;
          if (other) {
            const wasRight = rankOf(other, label) < 1;
            paired++;
            if (rank < 1 && !wasRight) gained++;
            if (rank >= 1 && wasRight) lost++;
          }
        }
        if (other) {
          const kl = klDivergence(other, row);
          divergence += kl;
          divergences.push(kl);
        }
      }
    },
    scores: () => ({
      samples,
      ...(found.length > 0 && { top1: first / found.length, top5: amongFive / found.length }),
      ...(divergences.length > 0 && { kl: divergence / divergences.length }),
      ...finite({ scoreError: errorOfSums(paired, gained - lost, gained + lost) }),
    }),
    samples: () => ({ score: found, kl: divergences }),
  };
}

/** How many classes score higher than `label`; of equals the lower class number comes first. A logit that is NaN loses. */
function rankOf(logits: Float32Array, label: number): number {
  const own = logits[label]!;
  if (Number.isNaN(own)) return Infinity;
  let rank = 0;
  for (let c = 0; c < logits.length; c++) if (logits[c]! > own || (logits[c] === own && c < label)) rank++;
  return rank;
}
