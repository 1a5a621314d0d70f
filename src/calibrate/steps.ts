/** The questions before a calibration, in their order. */
import type { Step } from '../common/ask.js';
import type { Answers } from './choices.js';
import { modelStep, type Sources } from './questions.js';
import { dataSteps, reviewStep } from './review.js';

/**
 * Model and data; how to calibrate is asked only where somebody wants it otherwise (`review.ts`).
 * @param preset the model was named, so it is not asked for
 */
export const calibrationSteps =
  (sources: Sources, preset: boolean) =>
  (answers: Answers): Step<Answers>[] => [
    ...(preset ? [] : [modelStep(sources)]),
    // Until the model is known there are questions after it, most often two.
    ...(answers.methods ? dataSteps(sources, answers) : [reviewStep(sources)]),
    reviewStep(sources),
  ];
