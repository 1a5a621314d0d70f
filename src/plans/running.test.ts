import { describe, expect, it } from 'vitest';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';
import { createEmitter } from '../common/event.js';
import { fakeConnection } from '../common/testing.js';
import { createRunningModels } from './running.js';
import { table } from './testing.js';

const row: EvaluationRow = { label: 'plan', kind: 'adapters', bits: 4, bytes: 1, samples: 8, top1: 0.8 };

function setUp() {
  let trusted = true;
  const stopped = createEmitter<void>();
  const connection = fakeConnection({
    'session/open': ({ adapters }) => ({ session: adapters, seconds: 0.1, warnings: [] }),
    'session/use': () => ({ changed: 1, seconds: 0.002 }),
    'session/close': () => ({}),
    'session/evaluate': () => ({ row, full: { ...row, kind: 'full', bits: 'fp' }, seconds: 1 }),
  });
  const running = createRunningModels({
    connection,
    device: () => 'cpu',
    trusted: () => trusted,
    engineStopped: stopped.event,
    lastData: () => '/data/evaluation.txt',
  });
  const replaced: string[] = [];
  running.onDidReplace((plan) => replaced.push(plan));
  const closed = () =>
    connection.requests.filter(({ method }) => method === 'session/close').map(({ params }) => params);
  const named = (adapters: string | undefined) => ({ table, paths: { model: '/m', adapters } });
  const stop = () => stopped.fire();
  return { connection, running, replaced, closed, named, stop, distrust: () => (trusted = false) };
}

describe('createRunningModels', () => {
  it('runs one model for a plan, whatever shows it, and until nothing does', async () => {
    const { running, replaced, closed, named } = setUp();
    const [first, second] = [running.hold('p'), running.hold('p')];
    const live = running.update('p', named('/a'))!;
    expect(running.update('p', named('/a'))).toBe(live);
    expect(replaced).toEqual(['p']);
    expect(live.now().data).toBe('evaluation.txt');
    await live.open();
    first.dispose();
    expect(closed()).toEqual([]);
    second.dispose();
    expect(closed()).toEqual([{ session: '/a' }]);
    expect(running.of('p')).toBeUndefined();
  });

  it('replaces the model where the plan names another set, or may not run one', async () => {
    const { running, replaced, closed, named, distrust } = setUp();
    running.hold('p');
    await running.update('p', named('/a'))!.open();
    const other = running.update('p', named('/b'))!;
    expect(closed()).toEqual([{ session: '/a' }]);
    expect(running.of('p')).toBe(other);
    expect(running.update('p', named(undefined))).toBeUndefined();
    running.update('p', named('/b'));
    distrust();
    expect(running.update('p', named('/b'))).toBeUndefined();
    expect(replaced).toHaveLength(5);
  });

  it('opens the model again after the engine has ended, with nothing asked of the session that went with it', async () => {
    const { connection, running, named, stop } = setUp();
    running.hold('p');
    const live = running.update('p', named('/a'))!;
    await live.open();
    stop();
    expect(live.now().state).toBe('closed');
    await live.measure();
    expect(live.now()).toMatchObject({ state: 'open', measured: [{ value: 0.8 }] });
    expect(connection.requests.filter(({ method }) => method === 'session/open')).toHaveLength(2);
  });

  it('keeps what was measured of a plan for the next editor', async () => {
    const { running, named } = setUp();
    const editor = running.hold('p');
    await running.update('p', named('/a'))!.measure();
    editor.dispose();
    running.hold('p');
    running.hold('q');
    expect(running.update('p', named('/a'))!.now().measured).toHaveLength(1);
    expect(running.update('p', named('/b'))!.now().measured).toEqual([]);
    expect(running.update('q', named('/a'))!.now().measured).toEqual([]);
  });

  it('runs nothing for a plan that no editor shows', () => {
    const { running, named } = setUp();
    expect(running.update('p', named('/a'))).toBeUndefined();
    running.hold('q');
    expect(running.of('p')).toBeUndefined();
  });
});
