import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, TINY_LLAMA, writeRandomModel } from '../../test/fixtures.js';
import { sentencePiece } from '../data/text/testing.js';
import { openTokenizer } from '../data/text/tokenizer.js';
import { meanDivergence } from '../execution/logit-divergence.js';
import { layerNames, openPlainModel, type RunnableModel } from '../execution/model.js';
import { openElasticModel, widthsOf } from '../execution/quantized-model.js';
import { openSampleCache } from '../execution/sample-store.js';
import { calibrate } from '../methods/calibrate.js';
import { resolveRequest } from '../methods/request.js';
import { openAdapterSet, openSource } from '../methods/sets.js';
import { usePrograms } from '../execution/testing.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { inputSize } from '../models/model.js';
import type { CalibrateRequest } from '../protocol/protocol.js';
import type { Programs } from '../runtime/programs.js';
import { openElasticSession } from './elastic-session.js';

const CONTEXT = 80;
const ADDED = 6;
const programs = usePrograms();
const { signal } = new AbortController();

let folder: string;
let cleanUp: () => Promise<void>;
beforeAll(async () => ({ folder, cleanUp } = await temporaryFolder()));
// Models here differ, and programs are named by kinds of parts, which are the same.
afterEach(() => programs.release());
afterAll(() => cleanUp());

type Asked = Partial<Pick<CalibrateRequest, 'mode' | 'options'>>;

/** A random model with a tokenizer that makes a token of each letter, and a set of its weights rounded, embedding and head to 8 bits. @param stored what the weights are of beside what the configuration says */
async function writeSetting(
  model: string,
  adapters: string,
  change: object,
  asked: Asked,
  stored: object = {},
): Promise<void> {
  const config = { ...TINY_LLAMA, max_position_embeddings: CONTEXT, vocab_size: 300, ...change };
  await writeRandomModel(model, { ...config, ...stored });
  await writeFile(join(model, 'config.json'), JSON.stringify(config));
  // Without a decoder, tokens read as they are written: bytes that make no character would all read alike.
  const tokenizer = { ...sentencePiece({ merges: [] }), decoder: null };
  await writeFile(join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>' }));
  const checkpoint = await openCheckpoint(model);
  const request = { model, method: 'rounding', mode: 'weight-only' as const, bits: [8, 4, 2], ...asked };
  const { method, settings } = resolveRequest(checkpoint, request);
  await calibrate(
    programs,
    {
      method,
      settings: { ...settings, ...{ embeddingBits: 8, headBits: 8 } },
      checkpoint,
      out: adapters,
      resume: false,
      cache: await openSampleCache(0),
      distance: meanDivergence,
      engineVersion: '0',
    },
    { signal, status: () => undefined, note: () => undefined },
  );
  await checkpoint.close();
}

/** Programs that tell `seen` the length of every text that is run. */
const watched = ({ runtime, ...others }: Programs, seen: (length: number) => void): Programs => ({
  ...others,
  runtime: {
    ...runtime,
    tensor: (data, shape) => {
      if (data instanceof BigInt64Array) seen(shape[1]!);
      return runtime.tensor(data, shape);
    },
  },
});

/** The text that a model adds greedily, and the probabilities [vocabulary] of its first token, all by full windows. */
async function byFullWindows({ folder, model }: Checkpoint, runnable: RunnableModel, text: string) {
  const tokenizer = await openTokenizer(folder);
  const tokens = inputSize(model.stem);
  const [ids] = (await tokenizer.encode([text], { special: 'all' })) as [number[]];
  expect(ids[0]).toBe(tokenizer.bos);
  const start = ids.length;
  let first: Float32Array | undefined;
  for (let added = 0; added < ADDED; added++) {
    const window = new BigInt64Array(tokens);
    const seen = ids.slice(-tokens);
    window.set(seen.map(BigInt));
    const logits = await runnable.row(programs.runtime.tensor(window, [1, tokens]), seen.length - 1);
    first ??= logits.map(Math.exp);
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  const total = first!.reduce((a, b) => a + b);
  const probabilities = [...first!].map((p) => p / total).sort((a, b) => b - a);
  return { text: await tokenizer.decode(ids.slice(start)), probabilities };
}

const letters = (count: number) =>
  // The tokenizer puts two tokens before them: the beginning of a text, and a space.
  Array.from({ length: count - 2 }, (_, i) => String.fromCharCode(97 + ((7 * i) % 26))).join('');

const settings: [string, object, Asked][] = [
  ['LLaMA', {}, {}],
  [
    'LLaMA, rotated, with activations and cache',
    {},
    { mode: 'weight-activation', options: { rotation: 'on', kvBits: 4 } },
  ],
  [
    'Mistral with a window',
    { model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 40 },
    {},
  ],
  ['Qwen 3', { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'] }, {}],
];

describe('a prediction of text', () => {
  it.each(settings)('at the length of the text is that of full windows: %s', async (name, change, asked) => {
    const [model, adapters] = [join(folder, name), join(folder, `${name} set`)];
    await writeSetting(model, adapters, change, asked);
    const lengths = new Set<number>();
    const session = await openElasticSession(
      watched(programs, (length) => lengths.add(length)),
      model,
      adapters,
    );
    const checkpoint = await openCheckpoint(model);
    const layers = layerNames(checkpoint);
    const opened = await openAdapterSet(adapters);
    const elastic = await openElasticModel(programs, openSource(programs, checkpoint, opened));
    await opened.close();
    const full = await openPlainModel(programs, checkpoint);
    const texts: string[] = [];
    for (const bits of [layers.map(() => 8), layers.map((_, i) => (i === 0 ? 2 : 4))]) {
      await session.use(bits);
      await elastic.use(widthsOf(layers, bits));
      for (const [tokens, expected] of [
        // The text once, filled up, and then token by token.
        [10, [32, 1]],
        [30, [32, 1]],
        [62, [64, 1]],
        // Here the window moves, and nothing that was kept is of use.
        [CONTEXT + 5, [CONTEXT]],
      ] as const) {
        lengths.clear();
        const heard: Record<'plan' | 'full', string[]> = { plan: [], full: [] };
        const found = await session.predict({ text: letters(tokens), tokens: ADDED }, signal, (of, text) =>
          heard[of].push(text),
        );
        expect([...lengths]).toEqual(expected);
        for (const [which, runnable] of [
          ['plan', elastic],
          ['full', full],
        ] as const) {
          const reference = await byFullWindows(checkpoint, runnable, letters(tokens));
          const prediction = found[which] as Extract<typeof found.plan, { text: string }>;
          expect(prediction.text).toBe(reference.text);
          expect(heard[which]).toHaveLength(prediction.tokens);
          expect(heard[which].at(-1)).toBe(prediction.text);
          heard[which].forEach((text) => expect(prediction.text.startsWith(text)).toBe(true));
          for (const [i, { probability }] of prediction.next.entries())
            expect(probability).toBeCloseTo(reference.probabilities[i]!, 6);
          if (which === 'plan') texts.push(prediction.text);
        }
      }
    }
    expect(new Set(texts).size).toBe(texts.length);
    elastic.dispose();
    full.dispose();
    await checkpoint.close();
    await session.close();
  });

  it('comes with what is read of the checkpoint otherwise than one may think', async () => {
    const [model, adapters] = [join(folder, 'more'), join(folder, 'more set')];
    await writeSetting(model, adapters, { num_hidden_layers: 1 }, {}, { num_hidden_layers: 2 });
    const session = await openElasticSession(programs, model, adapters);
    expect(session.warnings).toHaveLength(1);
    expect(session.warnings[0]).toContain('tensors are not read');
    await session.close();
  });

  it('stops at every end token that the model names, and reads line ends of Windows as any others', async () => {
    const [model, adapters] = [join(folder, 'ending'), join(folder, 'ending set')];
    await writeSetting(model, adapters, {}, {});
    const open = () => openElasticSession(programs, model, adapters);
    const session = await open();
    const [plain, windows] = [
      await session.predict({ text: 'ab\nc', tokens: ADDED }, signal),
      await session.predict({ text: 'ab\r\nc', tokens: ADDED }, signal),
    ];
    const told = ({ plan, full }: typeof plain) =>
      [plan, full].map((prediction) => ({ ...prediction, seconds: 0 }));
    expect(told(windows)).toEqual(told(plain));
    expect(plain.full).not.toMatchObject({ text: '' });
    await session.close();
    const ends = Array.from({ length: 300 }, (_, id) => id);
    await writeFile(join(model, 'generation_config.json'), JSON.stringify({ eos_token_id: ends }));
    const ending = await open();
    expect((await ending.predict({ text: 'ab', tokens: ADDED }, signal)).full).toMatchObject({ text: '' });
    await ending.close();
  });

  it('ends at the next token once it is cancelled', async () => {
    const [model, adapters] = [join(folder, 'cancelled'), join(folder, 'cancelled set')];
    await writeSetting(model, adapters, {}, {});
    const stop = new AbortController();
    let runs = 0;
    const session = await openElasticSession(
      watched(programs, () => {
        if (++runs === 2) stop.abort();
      }),
      model,
      adapters,
    );
    await expect(session.predict({ text: letters(10), tokens: ADDED }, stop.signal)).rejects.toThrow();
    expect(runs).toBe(2);
    await session.close();
  });
});
