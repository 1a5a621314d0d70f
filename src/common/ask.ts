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

/** The wish to go back, with what was answered before it. */
export interface Back<A> {
  readonly [BACK]: Partial<A>;
}

/** Asks one question: what it adds to the answers, the wish to go back, or undefined where the person leaves. */
export type Step<A> = (answers: A, place: Place) => Promise<Partial<A> | Back<A> | typeof BACK | undefined>;

/**
 * Asks until the last question is answered. An answer may change the questions after it; going back keeps the answers
 * as defaults.
 */
export async function ask<A>(
  title: string,
  stepsOf: (answers: A) => readonly Step<A>[],
  initial: A,
): Promise<A | undefined> {
  const answers = await askAll({ title, back: false }, stepsOf, initial);
  return answers === BACK ? undefined : answers;
}

/** Asks as `ask` while another question is open, to which the first of these goes back. */
export const askWithin = <A>(
  { title }: Place,
  stepsOf: (answers: A) => readonly Step<A>[],
  initial: A,
): Promise<A | typeof BACK | undefined> => askAll({ title, back: true }, stepsOf, initial);

async function askAll<A>(
  { title, back }: Pick<Place, 'title' | 'back'>,
  stepsOf: (answers: A) => readonly Step<A>[],
  initial: A,
): Promise<A | typeof BACK | undefined> {
  let answers = initial;
  for (let at = 0; ;) {
    if (at < 0) return BACK;
    const steps = stepsOf(answers);
    const step = steps[at];
    if (step === undefined) return answers;
    const place = { title, step: at + 1, totalSteps: steps.length, back: back || at > 0 };
    const result = await step(answers, place);
    if (result === undefined) return undefined;
    if (result === BACK) at -= 1;
    else if (isBack(result)) {
      answers = { ...answers, ...result[BACK] };
      at -= 1;
    } else {
      answers = { ...answers, ...result };
      at += 1;
    }
  }
}

const isBack = <A>(result: Partial<A> | Back<A>): result is Back<A> => BACK in result;
