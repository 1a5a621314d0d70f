import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { EMPTY_QUEUE, stepQueue, type QueueEvent } from './queue.js';

const added = (id: string): QueueEvent => ({ type: 'added', id });
const cancelled = (id: string): QueueEvent => ({ type: 'cancelled', id });
const settled = (id: string, goesOn = false): QueueEvent => ({ type: 'settled', id, goesOn });
const closed: QueueEvent = { type: 'closed' };

/** What is to be done after each event, such as `run a`. */
function effectsOf(...events: QueueEvent[]): string[] {
  let queue = EMPTY_QUEUE;
  return events.map((event) => {
    const step = stepQueue(queue, event);
    queue = step.queue;
    return step.effects.map(({ type, id }) => `${type} ${id}`).join(', ');
  });
}

describe('a queue', () => {
  it('runs one job at a time, in their order', () => {
    expect(effectsOf(added('a'), added('b'), added('c'), settled('a'), settled('b'), settled('c'))).toEqual([
      'run a',
      '',
      '',
      'run b',
      'run c',
      '',
    ]);
  });

  it('lets a job that goes on run before all others', () => {
    expect(effectsOf(added('a'), added('b'), settled('a', true), settled('a'))).toEqual([
      'run a',
      '',
      'run a',
      'run b',
    ]);
  });

  it('drops what waits and stops what runs', () => {
    expect(
      effectsOf(
        added('a'),
        added('b'),
        added('c'),
        cancelled('b'),
        settled('b'),
        cancelled('a'),
        settled('a'),
      ),
    ).toEqual(['run a', '', '', 'drop b', '', 'stop a', 'run c']);
  });

  it('drops a job that was asked to stop while it was decided that it goes on', () => {
    expect(effectsOf(added('a'), added('b'), cancelled('a'), settled('a', true), settled('a'))).toEqual([
      'run a',
      '',
      'stop a',
      'drop a, run b',
      '',
    ]);
    expect(effectsOf(added('a'), closed, settled('a', true), settled('a'))).toEqual([
      'run a',
      'kill a',
      'drop a',
      '',
    ]);
  });

  it('drops and kills everything when it closes, and starts nothing any more', () => {
    expect(
      effectsOf(added('a'), added('b'), added('c'), closed, settled('b'), settled('a'), added('d')),
    ).toEqual(['run a', '', '', 'drop b, drop c, kill a', '', '', '']);
  });

  it('has nothing to do for a job that it does not know', () => {
    expect(effectsOf(cancelled('a'), added('a'), settled('a'), cancelled('a'))).toEqual([
      '',
      'run a',
      '',
      '',
    ]);
  });
});

it('whatever happens, one job at most runs, and every job is run or dropped until it is settled', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = createRandom(seed, 'queue');
    let queue = EMPTY_QUEUE;
    const open = new Set<string>();
    /** Jobs whose settling is under way: their process runs, or they were dropped. */
    const running = new Set<string>();
    const dropped = new Set<string>();
    let count = 0;
    const take = (event: QueueEvent) => {
      const step = stepQueue(queue, event);
      queue = step.queue;
      for (const { type, id } of step.effects) {
        if (type === 'run') running.add(id);
        if (type === 'drop') dropped.add(id);
        expect(open.has(id)).toBe(true);
      }
      expect(running.size).toBeLessThanOrEqual(1);
      expect(queue.running === undefined ? [] : [queue.running]).toEqual([...running]);
    };
    const settle = (id: string, goesOn: boolean) => {
      if (!goesOn || dropped.has(id)) open.delete(id);
      const again = goesOn && !dropped.has(id);
      running.delete(id);
      dropped.delete(id);
      take(settled(id, again));
    };
    for (let i = 0; i < 40; i++) {
      const known = [...open];
      const any = known[random.integer(Math.max(1, known.length))];
      const ending = [...running, ...dropped][0];
      const choice = random.integer(4);
      if (choice === 0 || any === undefined) {
        open.add(`${count}`);
        take(added(`${count++}`));
      } else if (choice === 1) take(cancelled(any));
      else if (ending !== undefined) settle(ending, random.integer(3) === 0);
    }
    take(closed);
    for (let rest = [...running, ...dropped]; rest.length > 0; rest = [...running, ...dropped])
      settle(rest[0]!, random.integer(2) === 0);
    expect([...open]).toEqual([]);
    expect(queue).toMatchObject({ waiting: [], running: undefined });
  }
});
