import { describe, expect, it } from 'vitest';
import { EngineError } from './error.js';
import { follow, shownOf, type Happening, type State } from './lifecycle.js';
import { fakeEngines } from './testing.js';

const engine = fakeEngines().spawn('/engine.js', () => undefined);
const error = new EngineError('It will not do.');
const STATES: State[] = [
  { phase: 'stopped' },
  { phase: 'starting' },
  { phase: 'running', engine },
  { phase: 'waiting', message: 'It crashed.', wait: 500 },
  { phase: 'failed', error },
  { phase: 'ended' },
];
const HAPPENINGS: Happening[] = [
  { type: 'needed' },
  { type: 'restarted' },
  { type: 'ready', engine },
  { type: 'crashed', message: 'It crashed.', wait: 500 },
  { type: 'due' },
  { type: 'gaveUp', error },
  { type: 'stopped' },
];
const living = STATES.filter(({ phase }) => phase !== 'ended');
const after = (state: State, type: Happening['type']) =>
  follow(
    state,
    HAPPENINGS.find((happening) => happening.type === type)!,
  )?.phase;

describe('follow', () => {
  it('ends from every state, and for good', () => {
    for (const state of living) expect(after(state, 'stopped')).toBe('ended');
    for (const { type } of HAPPENINGS) expect(after({ phase: 'ended' }, type)).toBeUndefined();
  });

  it('restarts from every state, as a start of its own', () => {
    for (const state of living) {
      const next = follow(state, { type: 'restarted' });
      expect(next).toEqual({ phase: 'starting' });
      expect(next).not.toBe(state);
    }
  });

  it('starts by itself only what nothing needed yet', () => {
    expect(living.filter((state) => after(state, 'needed') !== undefined)).toEqual([{ phase: 'stopped' }]);
  });

  it('says why it starts again, while it waits and while it starts', () => {
    const waiting = follow(
      { phase: 'running', engine },
      { type: 'crashed', message: 'It crashed.', wait: 500 },
    )!;
    const starting = follow(waiting, { type: 'due' })!;
    expect(starting.phase).toBe('starting');
    for (const state of [waiting, starting])
      expect(shownOf(state)).toEqual({ state: 'starting', message: 'It crashed.' });
  });
});
