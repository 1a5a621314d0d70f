import { describe, expect, it } from 'vitest';
import { fakeConnection } from '../common/testing.js';
import { createRunningModels } from './running.js';
import { table } from './testing.js';

function setUp() {
  let trusted = true;
  const connection = fakeConnection({
    'session/open': ({ adapters }) => ({ session: adapters, seconds: 0.1 }),
    'session/use': () => ({ changed: 1, seconds: 0.002 }),
    'session/close': () => ({}),
  });
  const running = createRunningModels({
    connection,
    device: () => 'cpu',
    trusted: () => trusted,
    lastData: () => '/data/evaluation.txt',
  });
  const replaced: string[] = [];
  running.onDidReplace((plan) => replaced.push(plan));
  const closed = () =>
    connection.requests.filter(({ method }) => method === 'session/close').map(({ params }) => params);
  const named = (adapters: string | undefined) => ({ table, paths: { model: '/m', adapters } });
  return { running, replaced, closed, named, distrust: () => (trusted = false) };
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

  it('runs nothing for a plan that no editor shows', () => {
    const { running, named } = setUp();
    expect(running.update('p', named('/a'))).toBeUndefined();
    running.hold('q');
    expect(running.of('p')).toBeUndefined();
  });
});
