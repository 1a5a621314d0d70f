import { expect, it, vi } from 'vitest';
import sharp from 'sharp';
import { decodeImage, readImage } from './decode.js';
import { plain } from './testing.js';
import type * as turns from './turns.js';
import { openTurns } from './turns.js';

/** How decoding takes its turns, while it does. */
const taken = vi.hoisted(() => [] as string[]);
vi.mock('./turns.js', async (original) => {
  const module = await original<typeof turns>();
  const openTurns = (): turns.Turns => {
    const { alone, together } = module.openTurns();
    return {
      alone: (work) => (taken.push('alone'), alone(work)),
      together: (work) => (taken.push('together'), together(work)),
    };
  };
  return { ...module, openTurns };
});

it('work that is to be alone begins when all before it has ended, and ends before any after it begins', async () => {
  const { alone, together } = openTurns();
  let running = 0;
  const done: string[] = [];
  const work = (name: string, most: number) => async () => {
    running++;
    for (let i = 0; i < 5; i++) {
      await Promise.resolve();
      expect(running).toBeLessThanOrEqual(most);
    }
    running--;
    done.push(name);
    if (name === 'fails') throw new Error('damaged');
  };
  await Promise.allSettled([
    together(work('a', 2)),
    together(work('b', 2)),
    alone(work('fails', 1)),
    alone(work('c', 1)),
    together(work('d', 1)),
  ]);
  expect(done).toEqual(['a', 'b', 'fails', 'c', 'd']);
});

it('pictures of many pixels and files of many bytes are decoded one at a time, small ones beside each other', async () => {
  const flat = (side: number) =>
    sharp({ create: { width: side, height: side, channels: 3, background: 'grey' } });
  const preprocessor = { ...plain(), resize: { height: 2, width: 2 } };
  const turnsOf = async (work: () => Promise<unknown>) => {
    taken.length = 0;
    await work();
    return [...taken];
  };
  const [small, large] = [await flat(40).png().toBuffer(), await flat(3000).png().toBuffer()];
  expect(large.length).toBeLessThan(1e5);
  expect(await turnsOf(() => decodeImage(small, preprocessor))).toEqual(['together']);
  expect(await turnsOf(() => decodeImage(large, preprocessor))).toEqual(['alone']);
  const read = () => Promise.resolve(small);
  expect(await turnsOf(() => readImage(read, 9 << 20, preprocessor))).toEqual(['alone']);
});
