/** Questions one after another, with a way back. Knows no editor. */

export const BACK = Symbol('back');

/** Where a question stands among the others. */
export interface Place {
  readonly title: string;
  readonly step: number;
  readonly totalSteps: number;
  /** Whether there is a question to go back to. */
  readonly back: boolean;
}

/** The place of a question that is asked alone. */
export const alone = (title: string): Place => ({ title, step: 1, totalSteps: 1, back: false });

/** Asks one question: what it adds to the answers, the wish to go back, or undefined where the person leaves. */
export type Step<A> = (answers: A, place: Place) => Promise<Partial<A> | typeof BACK | undefined>;

/**
 * Asks until the last question is answered. An answer may change the questions after it; going back keeps the answers
 * as defaults.
 */
export async function ask<A>(
  title: string,
  stepsOf: (answers: A) => readonly Step<A>[],
  initial: A,
): Promise<A | undefined> {
  let answers = initial;
  for (let at = 0; ;) {
    const steps = stepsOf(answers);
    const step = steps[at];
    if (step === undefined) return answers;
    const result = await step(answers, { title, step: at + 1, totalSteps: steps.length, back: at > 0 });
    if (result === undefined) return undefined;
    if (result === BACK) {
      at -= 1;
    } else {
      answers = { ...answers, ...result };
      at += 1;
    }
  }
}
