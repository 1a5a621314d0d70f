import { describe, expect, it } from 'vitest';
import { ask, askWithin, BACK, type Back, type Place, type Step } from './ask.js';

interface Answers {
  readonly model?: string;
  readonly length?: string;
  readonly samples?: number;
}

type Reply = Partial<Answers> | Back<Answers> | typeof BACK | undefined;

/** Plays the replies of each question in turn, and writes down what was asked. */
function script(replies: Record<string, Reply[]>) {
  const asked: string[] = [];
  const step =
    (name: string): Step<Answers> =>
    (answers, { step, totalSteps, back }: Place) => {
      asked.push(`${name} ${step}/${totalSteps}${back ? ' back' : ''} ${JSON.stringify(answers)}`);
      return Promise.resolve(replies[name]!.shift());
    };
  const steps = ({ length }: Answers) =>
    ['model', 'length', ...(length === 'custom' ? ['samples'] : []), 'start'].map(step);
  const within = { title: 'Title', step: 2, totalSteps: 3, back: true };
  return {
    asked,
    run: () => ask<Answers>('Title', steps, {}),
    runWithin: (initial: Answers) => askWithin<Answers>(within, steps, initial),
  };
}

describe('ask', () => {
  it('collects the answers', async () => {
    const { run } = script({ model: [{ model: 'a' }], length: [{ length: 'short' }], start: [{}] });
    expect(await run()).toEqual({ model: 'a', length: 'short' });
  });

  it('goes back with the answers kept, and asks what follows from new ones', async () => {
    const { run, asked } = script({
      model: [{ model: 'a' }, { model: 'b' }],
      length: [{ length: 'custom' }, BACK, { length: 'short' }],
      samples: [BACK],
      start: [{}],
    });
    expect(await run()).toEqual({ model: 'b', length: 'short' });
    expect(asked).toEqual([
      'model 1/3 {}',
      'length 2/3 back {"model":"a"}',
      'samples 3/4 back {"model":"a","length":"custom"}',
      'length 2/4 back {"model":"a","length":"custom"}',
      'model 1/4 {"model":"a","length":"custom"}',
      'length 2/4 back {"model":"b","length":"custom"}',
      'start 3/3 back {"model":"b","length":"short"}',
    ]);
  });

  it('ends without a result where the person leaves', async () => {
    const { run, asked } = script({ model: [{ model: 'a' }], length: [undefined] });
    expect(await run()).toBeUndefined();
    expect(asked).toHaveLength(2);
  });

  it('goes back with what a question has changed', async () => {
    const { run, asked } = script({
      model: [{ model: 'a' }, { model: 'b' }],
      length: [{ [BACK]: { samples: 3 } }, {}],
      start: [{}],
    });
    expect(await run()).toEqual({ model: 'b', samples: 3 });
    expect(asked[2]).toBe('model 1/3 {"model":"a","samples":3}');
  });
});

describe('askWithin', () => {
  it('collects the answers on top of those there are', async () => {
    const { runWithin, asked } = script({ model: [{ model: 'a' }], length: [{}], start: [{}] });
    expect(await runWithin({ samples: 2 })).toEqual({ samples: 2, model: 'a' });
    expect(asked[0]).toBe('model 1/3 back {"samples":2}');
  });

  it('goes back from the first question to the one around it', async () => {
    const { runWithin } = script({ model: [{ model: 'a' }, BACK], length: [BACK] });
    expect(await runWithin({})).toBe(BACK);
  });

  it('ends without a result where the person leaves', async () => {
    expect(await script({ model: [undefined] }).runWithin({})).toBeUndefined();
  });
});
