import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { duration } from '../time-left.js';
import { progressBar } from './progress.js';

let now = 0;
beforeEach(() => {
  now = 5000;
  vi.useFakeTimers();
  vi.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A stream that keeps what is written to it, and a bar on it that is updated at a time in seconds after its start. */
function bar(terminal: { columns?: number } | undefined) {
  const written: string[] = [];
  const stream = { isTTY: terminal !== undefined, ...terminal, write: (text: string) => written.push(text) };
  const progress = progressBar('Working', stream as unknown as NodeJS.WriteStream);
  return {
    written,
    stop: () => progress.stop(),
    /** Lets seconds pass in which nothing is heard. */
    wait: (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        now += 1000;
        vi.advanceTimersByTime(1000);
      }
      return written.at(-1);
    },
    at: (seconds: number, done: number, detail = '') => {
      now = 5000 + 1000 * seconds;
      progress.update(done, detail);
      return written.at(-1);
    },
  };
}

describe('on a stream that is no terminal', () => {
  it('writes whole lines, one every twentieth and one at the end', () => {
    const { at, written, stop } = bar(undefined);
    for (let i = 0; i <= 1000; i++) at(i, i / 1000);
    stop();
    expect(written).toHaveLength(21);
    for (const line of written) expect(line).toMatch(/^Working [ \d]{3} %[^\r\n]*\n$/);
    expect(written[0]).toBe('Working   0 %\n');
    expect(written.at(-1)).toBe('Working 100 %, 0 s left\n');
  });

  it('obeys no name', () => {
    const { at } = bar(undefined);
    expect(at(1, 1, 'a\u001b]0;x\u0007\nb')).toBe('Working 100 % · a\\u001b]0;x\\u0007\\u000ab\n');
  });

  it('writes a line a minute while nothing is heard, until it is stopped', () => {
    const { at, wait, written, stop } = bar(undefined);
    at(0, 0);
    at(10, 0.01, 'block 1');
    expect(wait(49)).toBe('Working   0 %\n');
    expect(wait(1)).toBe('Working   1 %, 15 min 40 s left · block 1\n');
    wait(180);
    expect(written).toHaveLength(5);
    stop();
    wait(180);
    expect(written).toHaveLength(5);
  });

  it('writes the end even where it comes close to the line before', () => {
    const { at, written } = bar(undefined);
    at(0, 0.97);
    at(1, 1, 'last');
    at(2, 1, 'again');
    expect(written).toEqual(['Working  97 %\n', 'Working 100 %, 0 s left · last\n']);
  });
});

describe('on a terminal', () => {
  it('redraws its line in place, filled by what is done', () => {
    const { at } = bar({ columns: 200 });
    expect(at(0, 0, 'block 1')).toBe(`\r\u001b[KWorking ${'░'.repeat(24)}   0 % · block 1`);
    expect(at(10, 0.25)).toBe(`\r\u001b[KWorking ${'█'.repeat(6)}${'░'.repeat(18)}  25 %, 30 s left`);
  });

  it('counts the time left down while nothing is heard', () => {
    const { at, wait } = bar({ columns: 200 });
    at(0, 0);
    at(10, 0.25);
    expect(wait(5)).toContain('25 %, 25 s left');
    expect(wait(100)).toContain('25 %, 0 s left');
  });

  it('gives up the bar before the figures', () => {
    const detail = 'block 3/12, loss at 7/8 bits 0.213';
    const lineAt = (columns: number) => bar({ columns }).at(0, 0.5, detail)!.replace('\r\u001b[K', '');
    expect(lineAt(200)).toBe(`Working ${'█'.repeat(12)}${'░'.repeat(12)}  50 % · ${detail}`);
    expect(lineAt(62)).toBe(`Working ${'█'.repeat(5)}${'░'.repeat(5)}  50 % · ${detail}`);
    expect(lineAt(56)).toBe(`Working  50 % · ${detail}`);
  });

  it('draws at most ten times a second, but always the end', () => {
    const { at, written } = bar({ columns: 200 });
    for (const time of [0, 0.05, 0.09, 0.1, 0.15]) at(time, time);
    expect(written).toHaveLength(2);
    expect(at(0.16, 1)).toMatch(/100 %/);
    expect(written).toHaveLength(3);
  });

  it.each([
    [40, 39],
    [5, 20],
    [0, 79],
    [undefined, 79],
  ])('keeps a line within %s columns', (columns, length) => {
    const { at } = bar({ ...(columns !== undefined && { columns }) });
    expect(at(0, 0.5, 'x'.repeat(300))!.replace('\r\u001b[K', '')).toHaveLength(length);
  });

  it('clears its line at the end, where it drew one', () => {
    const { at, written, stop } = bar({ columns: 80 });
    stop();
    expect(written).toEqual([]);
    at(0, 0.5);
    stop();
    expect(written.at(-1)).toBe('\r\u001b[K');
  });
});

describe('the time left', () => {
  it('follows from the speed since the first update, so that resumed work and preparations do not count', () => {
    const { at } = bar({ columns: 200 });
    expect(at(600, 0.5)).not.toMatch(/left/);
    expect(at(610, 0.6)).toMatch(/60 %, 40 s left/);
    expect(at(620, 0.6)).toMatch(/60 %, 1 min 20 s left/);
  });

  it('does not count what comes before anything is done', () => {
    const { at } = bar({ columns: 200 });
    at(0, 0, 'reading samples');
    at(60, 0, 'block 1');
    expect(at(70, 0.5)).toMatch(/50 %, 10 s left/);
  });
});

it.each([
  [0, '0 s'],
  [0.4, '0 s'],
  [59.4, '59 s'],
  [59.6, '1 min 0 s'],
  [200, '3 min 20 s'],
  [3599.6, '1 h 0 min'],
  [7500, '2 h 5 min'],
  [90_000, '25 h 0 min'],
])('%d seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text));
