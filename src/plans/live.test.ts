import { describe, expect, it } from 'vitest';
import type {
  EvaluationRow,
  OpenSessionResult,
  PredictResult,
  UseResult,
} from '../../engine/protocol/protocol.js';
import { fakeConnection } from '../common/testing.js';
import { createLive } from './live.js';

const row: EvaluationRow = {
  label: 'plan',
  kind: 'adapters',
  bits: 4,
  bytes: 1,
  samples: 8,
  top1: 0.875,
  scoreError: 0.02,
  kl: 0.003,
};
const full: EvaluationRow = { ...row, label: 'full', kind: 'full', bits: 'fp', top1: 0.9, kl: 0 };

/** A model whose evaluations end when the test says so. */
function setUp() {
  const evaluations: ((value: { row: EvaluationRow; full: EvaluationRow; seconds: number }) => void)[] = [];
  const connection = fakeConnection({
    'session/open': () => ({ session: 's', seconds: 0.1, warnings: ['vit: one tensor is not read.'] }),
    'session/use': () => ({ changed: 1, seconds: 0.002 }),
    'session/predict': () => ({ seconds: 0.1, memory: 9, plan: { classes: [] }, full: { classes: [] } }),
    'session/evaluate': () => new Promise((resolve) => evaluations.push(resolve)),
    'session/close': () => ({}),
  });
  const live = createLive(connection, { model: '/m', adapters: '/a', device: () => 'cpu', limit: 8 });
  const asked = () =>
    connection.requests.map(({ method, params }) =>
      [method.slice(8), (params as { bits?: number[] }).bits?.join()].filter(Boolean).join(' '),
    );
  /** Until everything that can go on has gone on. */
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { connection, live, evaluations, asked, settled };
}

describe('createLive', () => {
  it('passes on what the engine warns of when the model is opened, until it is closed', async () => {
    const { connection, live, settled } = setUp();
    await live.open();
    expect(live.now().warnings).toEqual(['vit: one tensor is not read.']);
    live.follow([4]);
    await settled();
    expect(live.now().warnings).toHaveLength(1);
    connection.notify('session/closed', { session: 's', reason: 'idle' });
    expect(live.now().warnings).toBeUndefined();
  });

  it('opens nothing until something is measured, then follows edits', async () => {
    const { live, asked, evaluations, settled } = setUp();
    live.follow([4, 4]);
    live.setData('/d', 'd');
    await settled();
    expect(asked()).toEqual([]);
    const measured = live.measure();
    await settled();
    expect(asked()).toEqual(['open', 'use 4,4', 'evaluate']);
    expect(live.now()).toMatchObject({ state: 'open', measuring: { done: 0 }, switched: { layers: 1 } });
    evaluations[0]!({ row, full, seconds: 2 });
    await measured;
    expect(live.now().measured).toEqual([
      {
        ...{ bits: [4, 4], metric: 'top1', value: 0.875, samples: 8, seconds: 2 },
        ...{ full: 0.9, error: 0.02, kl: 0.003 },
      },
    ]);
    expect(live.now().measuring).toBeUndefined();
    live.follow([4, 2]);
    await settled();
    expect(asked().at(-1)).toBe('use 4,2');
  });

  it('skips edits that were overtaken', async () => {
    const { live, asked, settled } = setUp();
    live.follow([4, 4]);
    await live.open();
    for (const bits of [[2, 4], [2, 8], [8, 8]]) live.follow(bits); // prettier-ignore
    await settled();
    expect(asked()).toEqual(['open', 'use 4,4', 'use 8,8']);
  });

  it('switches to nothing that it has already', async () => {
    const { live, asked, settled } = setUp();
    live.follow([2.3, 4]);
    await live.open();
    live.follow([8, 4]);
    live.follow([2.3, 4]);
    await settled();
    expect(asked()).toEqual(['open', 'use 2.3,4']);
  });

  it('measures again after each edit while told so, and drops what is stale', async () => {
    const { live, asked, evaluations, settled } = setUp();
    live.follow([4, 4]);
    live.setData('/d', 'd');
    live.keep(true);
    await settled();
    live.follow([2, 2]);
    evaluations[0]!({ row, full, seconds: 1 });
    await settled();
    expect(asked()).toEqual(['open', 'use 4,4', 'evaluate', 'use 2,2', 'evaluate']);
    evaluations[1]!({ row, full, seconds: 1 });
    await settled();
    expect(live.now().measured.map(({ bits }) => bits)).toEqual([[2, 2]]);
  });

  it('answers again after each edit', async () => {
    const { live, asked, settled } = setUp();
    const answers: unknown[] = [];
    live.onDidTry((answer) => answers.push(answer));
    live.follow([4, 4]);
    live.attempt({ text: 'To be' });
    await settled();
    live.follow([2, 4]);
    await settled();
    expect(asked()).toEqual(['open', 'use 4,4', 'predict', 'use 2,4', 'predict']);
    expect(answers).toHaveLength(2);
  });

  it('shows texts as they come, of its own session and while they do', async () => {
    let answer: (value: PredictResult) => void = () => undefined;
    const connection = fakeConnection({
      'session/open': () => ({ session: 's', seconds: 1, warnings: [] }),
      'session/use': () => ({ changed: 1, seconds: 1 }),
      'session/predict': () => new Promise((resolve) => (answer = resolve)),
    });
    const live = createLive(connection, { model: '/m', adapters: '/a', device: () => 'cpu', limit: 8 });
    const shown: unknown[] = [];
    live.onDidTry((tried) => shown.push(tried));
    const say = (session: string, of: 'plan' | 'full', text: string) =>
      connection.notify('session/text', { session, of, text });
    live.follow([4]);
    say('s', 'plan', 'too early');
    live.attempt({ text: 'To be' });
    await new Promise((resolve) => setImmediate(resolve));
    say('s', 'plan', ' or');
    say('other', 'plan', ' and');
    say('s', 'plan', ' or not');
    say('s', 'full', ' or');
    const result = { seconds: 1, memory: 9, plan: { classes: [] }, full: { classes: [] } };
    answer(result);
    await new Promise((resolve) => setImmediate(resolve));
    say('s', 'full', 'too late');
    expect(shown).toEqual([
      { partial: { plan: ' or' } },
      { partial: { plan: ' or not' } },
      { partial: { plan: ' or not', full: ' or' } },
      { result },
    ]);
  });

  it('says while a model is switched', async () => {
    let switched: (value: UseResult) => void = () => undefined;
    const connection = fakeConnection({
      'session/open': () => ({ session: 's', seconds: 1, warnings: [] }),
      'session/use': () => new Promise((resolve) => (switched = resolve)),
    });
    const live = createLive(connection, { model: '/m', adapters: '/a', device: () => 'cpu', limit: 8 });
    live.follow([4]);
    const opening = live.open();
    await new Promise((resolve) => setImmediate(resolve));
    expect(live.now()).toMatchObject({ state: 'open', switching: true });
    switched({ changed: 1, seconds: 3 });
    await opening;
    expect(live.now()).toMatchObject({ switched: { layers: 1, seconds: 3 } });
    expect(live.now()).not.toHaveProperty('switching');
  });

  it('closes a model that is open only after nobody shows the plan any more', async () => {
    let open: (value: OpenSessionResult) => void = () => undefined;
    const connection = fakeConnection({
      'session/open': () => new Promise((resolve) => (open = resolve)),
      'session/close': () => ({}),
    });
    const live = createLive(connection, { model: '/m', adapters: '/a', device: () => 'cpu', limit: 8 });
    live.follow([4, 4]);
    const opening = live.open();
    await new Promise((resolve) => setImmediate(resolve));
    live.dispose();
    open({ session: 's', seconds: 1, warnings: [] });
    await opening;
    expect(connection.requests.map(({ method }) => method)).toEqual(['session/open', 'session/close']);
  });

  it('says why the model was closed, and opens it again when it is needed', async () => {
    const { live, connection, asked, settled } = setUp();
    live.follow([4, 4]);
    await live.open();
    connection.notify('session/closed', { session: 'other', reason: 'no' });
    expect(live.now().state).toBe('open');
    connection.notify('session/closed', { session: 's', reason: 'It was idle.' });
    expect(live.now()).toMatchObject({ state: 'closed', reason: 'It was idle.' });
    live.follow([2, 2]);
    await settled();
    await live.open();
    expect(asked()).toEqual(['open', 'use 4,4', 'open', 'use 2,2']);
    live.dispose();
    expect(asked().at(-1)).toBe('close');
  });
});
