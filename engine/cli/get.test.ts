import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { complaint } from '../formats/testing.js';
import type { HubModel } from '../protocol/protocol.js';
import { beforeDownload, formatGot, formatHubModel, requireGettable } from './get.js';

const estimate = (method: string, bytes: number) => ({
  ...{ method, mode: 'weight-only' as const, bits: [4, 3], samples: 128 },
  forecast: { seconds: 600, bytes, disk: 0, device: 'cpu' as const },
});
const MODEL: HubModel = {
  ...{ model: 'org/name', revision: 'main', commit: 'c'.repeat(40), licence: 'mit', gated: true },
  files: [
    { name: 'config.json', bytes: 600, here: 600 },
    { name: 'model.safetensors', bytes: 2_000_000_000, here: 500_000_000 },
  ],
  ...{ cache: '/cache', free: 9e9, memory: 8e9 },
  description: {
    ...{ family: 'llama', task: 'text-generation', blocks: 24, parameters: 1.1e9, warnings: ['Beware.'] },
    estimates: [estimate('direct', 3e9), estimate('quept', 9e9)],
  },
};
const without = ({ description: _, ...model }: HubModel): HubModel => ({
  ...model,
  unsupported: 'No family.',
});

describe('what a model of the hub would take', () => {
  it('is said in full', () => {
    expect(formatHubModel(MODEL).split('\n')).toEqual([
      'org/name, main at cccccccccccc, licence mit, gated',
      'file                size    here',
      '─────────────────  ─────  ──────',
      'config.json        600 B   600 B',
      'model.safetensors   2 GB  500 MB',
      '2 GB in all, 1.5 GB to download; 9 GB are free in /cache',
      'llama for text-generation: 24 blocks, 1100.0 M parameters',
      'Beware.',
      '',
      'Calibrating it here, on cpu, with 8 GB of memory in this machine:',
      expect.stringMatching(/^method +bits/),
      expect.stringMatching(/^─/),
      expect.stringMatching(/^direct +4,3 +128 +10 min 0 s +3 GB/),
      expect.stringMatching(/^quept/),
    ]);
  });

  it('tells of too little memory, of none of the methods', () => {
    expect(formatHubModel({ ...MODEL, memory: 2e9 })).toMatch(/too little memory to calibrate it\.$/);
    expect(formatHubModel(without(MODEL))).toMatch(/\nNot supported: No family\.$/);
  });
});

it('a model that is not supported, or finds no room, is refused', async () => {
  expect(() => requireGettable(MODEL)).not.toThrow();
  expect(await complaint(() => requireGettable(without(MODEL)))).toMatch(/not supported: No family\./);
  expect(await complaint(() => requireGettable({ ...MODEL, free: 1e9 }))).toBe(
    'org/name needs 1.5 GB more in /cache, where 1 GB are free; make room, or name another place in HF_HUB_CACHE.',
  );
});

describe('before a download', () => {
  function terminal(isTTY: boolean) {
    const [input, output] = [new PassThrough(), new PassThrough()].map((stream) =>
      Object.assign(stream, { isTTY }),
    ) as [PassThrough & { isTTY: boolean }, PassThrough & { isTTY: boolean }];
    return { streams: { input, output }, type: (text: string) => input.write(text) };
  }
  const ask = (model: HubModel, yes: boolean, streams: ReturnType<typeof terminal>['streams']) =>
    beforeDownload(model, yes, new AbortController(), streams);

  it.each(['y\n', 'Yes\n'])('%j agrees', async (answer) => {
    const { streams, type } = terminal(true);
    const asking = ask(MODEL, false, streams);
    type(answer);
    await asking;
  });

  it.each(['\n', 'n\n', 'yesterday\n'])('%j does not', async (answer) => {
    const { streams, type } = terminal(true);
    const asking = complaint(() => ask(MODEL, false, streams));
    type(answer);
    expect(await asking).toBe('Not begun.');
  });

  it('nobody is asked who has agreed, or where all is here; without a terminal nothing begins', async () => {
    const { streams } = terminal(false);
    await ask(MODEL, true, streams);
    await ask(
      { ...MODEL, files: MODEL.files.map((file) => ({ ...file, here: file.bytes })) },
      false,
      streams,
    );
    expect(await complaint(() => ask(MODEL, false, streams))).toMatch(/add --yes/);
  });
});

it('says where a model is, and what comes next', () => {
  const result = { out: '/cache/m', commit: 'c', bytes: 2e9, downloaded: 1.5e9, seconds: 61, peakMemory: 1 };
  expect(formatGot('org/name', result)).toBe(
    'Got org/name: 1.5 GB of 2 GB in 61 s, checked by hash. It is in /cache/m\nCalibrate it: elastic-precision calibrate org/name --data DATA --out SET',
  );
  expect(formatGot('org/name', { ...result, downloaded: 0 })).toMatch(/^org\/name is here: \/cache\/m\n/);
});
