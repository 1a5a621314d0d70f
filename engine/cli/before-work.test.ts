import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { beforeWork, shorterCalibration } from './before-work.js';

const forecast = { seconds: 200, bytes: 1.5e9, disk: 45e6, device: 'cpu' } as const;
const long = { ...forecast, seconds: 5400 };
const asked = { yes: false, shorter: ['--effort quick', 'fewer --bits'] };

function terminal(isTTY: boolean) {
  const [input, output] = [new PassThrough(), new PassThrough()].map((stream) =>
    Object.assign(stream, { isTTY }),
  ) as [PassThrough & { isTTY: boolean }, PassThrough & { isTTY: boolean }];
  let written = '';
  output.on('data', (chunk: Buffer) => (written += chunk.toString()));
  return { streams: { input, output }, written: () => written, type: (text: string) => input.write(text) };
}

const LINES = [
  'About 1 h 30 min on cpu, with up to 1.5 GB of memory and 45 MB on disk.',
  'Shorter: --effort quick, fewer --bits.',
  '',
].join('\n');

describe('before work', () => {
  it('it is said what it takes', async () => {
    const { streams, written } = terminal(true);
    await beforeWork({ ...forecast, disk: 0 }, asked, new AbortController(), streams);
    expect(written()).toBe('About 3 min 20 s on cpu, with up to 1.5 GB of memory.\n');
  });

  it.each([
    ['there is no terminal', false, asked],
    ['that was wanted', true, { ...asked, yes: true }],
  ] as const)(
    'of more than an hour nobody is asked where %s, and it is said what is shorter',
    async (_, isTTY, how) => {
      const { streams, written } = terminal(isTTY);
      await beforeWork(long, how, new AbortController(), streams);
      expect(written()).toBe(LINES);
    },
  );

  it.each([
    ['y\n', true],
    ['Yes\n', true],
    ['n\n', false],
    ['\n', false],
    ['yesterday\n', false],
  ])('of more than an hour %j begins: %s', async (answer, begins) => {
    const { streams, type, written } = terminal(true);
    const begun = beforeWork(long, asked, new AbortController(), streams);
    type(answer);
    if (begins) await begun;
    else await expect(begun).rejects.toThrow('Not begun.');
    expect(written()).toContain('Begin? [y/N]');
  });

  it('the question ends with the work that it is of', async () => {
    const stop = new AbortController();
    const begun = beforeWork(long, asked, stop, terminal(true).streams);
    stop.abort();
    await expect(begun).rejects.toThrow('Not begun.');
  });
});

it('what is shorter is said by the options that a method has', () => {
  expect(shorterCalibration({ effort: {} })).toContain('--effort quick');
  expect(shorterCalibration({ epochs: {} })).toEqual(
    expect.arrayContaining(['fewer --epochs', 'fewer --bits']),
  );
  expect(shorterCalibration({})).not.toContain('--effort quick');
});
