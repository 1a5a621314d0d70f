import { describe, expect, it } from 'vitest';
import { openExchange } from './messaging.js';

describe('openExchange', () => {
  const open = () => {
    const sent: Record<string, unknown>[] = [];
    return { sent, ...openExchange((message) => sent.push(message as Record<string, unknown>)) };
  };

  it('numbers requests and gives each its own answer, in any order', async () => {
    const { sent, ask, settle } = open();
    const [first, second] = [ask({ type: 'a' }), ask({ type: 'b', x: 1 })];
    expect(sent).toEqual([
      { type: 'a', id: 1 },
      { type: 'b', x: 1, id: 2 },
    ]);
    settle({ type: 'answer', id: 2, result: 'two' });
    settle({ type: 'answer', id: 1 });
    expect(await second).toBe('two');
    expect(await first).toBeUndefined();
  });

  it('rejects with the line of an error', async () => {
    const { ask, settle } = open();
    const request = ask({ type: 'a' });
    settle({ type: 'answer', id: 1, error: 'No such set.' });
    await expect(request).rejects.toThrow('No such set.');
  });

  it('leaves other messages to others and drops stray answers', () => {
    const { settle } = open();
    expect(settle({ type: 'show' })).toBe(false);
    expect(settle(undefined)).toBe(false);
    expect(settle({ type: 'answer', id: 9 })).toBe(true);
  });
});
