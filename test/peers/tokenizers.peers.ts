/** Token ids and texts of random tokenizers beside Hugging Face's library and AutoTokenizer. */
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll } from 'vitest';
import { readTokenizerFiles } from '../../engine/data/text/tokenizer.js';
import type * as Process from '../../engine/data/text/tokenizer-process.js';
import { UserError } from '../../engine/errors.js';
import { drawConfig, drawText, drawTokenizer, type Json } from './tokenizer-files.js';
import { peerSuite, type Case } from './suite.js';

interface TokenizerCase extends Case {
  readonly tokenizer: Json;
  readonly config?: Json;
  readonly texts: readonly string[];
  readonly ids: readonly (readonly number[])[];
}

interface Refused {
  readonly refused: string;
}

interface Answer {
  readonly encoded: readonly (readonly [readonly number[] | Refused, readonly number[] | Refused])[];
  readonly decoded: readonly (string | Refused)[];
  readonly error?: string;
}

/** The library ends its process where it fails, so it has one of its own, as in the built engine; it serves all cases. */
let library: typeof Process;
let running: Process.TokenizerProcess | undefined;
beforeAll(async () => {
  const root = join(import.meta.dirname, '../..');
  const outdir = join(root, 'dist/peers');
  await build({
    absWorkingDir: root,
    entryPoints: {
      process: 'engine/data/text/tokenizer-process.ts',
      tokenizer: 'engine/data/text/tokenizer-child.ts',
    },
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    external: ['tokenizers'],
  });
  library = (await import(join(outdir, 'process.js'))) as typeof Process;
});
afterAll(() => running?.kill());

/** The answer of the library; of several texts, to the first. */
async function ask(work: Process.Work): Promise<unknown> {
  running ??= library.startTokenizer(() => (running = undefined));
  try {
    const answer = await running.ask(work, 1000);
    return work.kind === 'encode' ? [...(answer as Uint32Array[])[0]!] : answer;
  } catch (error) {
    if ((error as Error).name !== 'UserError') throw error;
    return { refused: (error as Error).message } satisfies Refused;
  }
}

const isRefused = (answer: unknown): answer is Refused =>
  typeof answer === 'object' && answer !== null && 'refused' in answer;

peerSuite<TokenizerCase, Answer>({
  name: 'tokenizers',
  python: 'tokenizer_files.py',
  cases: 800,
  make: (draw, seed) => {
    const tokenizer = drawTokenizer(draw);
    const config = drawConfig(draw, tokenizer);
    return {
      seed,
      tokenizer,
      ...(config && { config }),
      texts: Array.from({ length: 8 }, () => drawText(draw)),
      ids: Array.from({ length: 3 }, () =>
        Array.from({ length: draw.whole(0, 12) }, () => draw.whole(0, 400)),
      ),
    };
  },
  check: async (given, answer, folder) => {
    const open = { kind: 'open', files: await readTokenizerFiles(folder) } as const;
    const opened = await ask(open);
    if (answer.error !== undefined) {
      if (isRefused(opened)) return;
      throw new Error(`opened, but the reference refuses it: ${answer.error}`);
    }
    if (isRefused(opened)) throw new UserError(opened.refused);
    const requireSame = async (work: Process.Work, reference: unknown) => {
      // It may have ended by the last question.
      if (running === undefined) await ask(open);
      const found = await ask(work);
      if (isRefused(found) && isRefused(reference)) return;
      const [a, b] = [JSON.stringify(found), JSON.stringify(reference)];
      if (a !== b) throw new Error(`${JSON.stringify(work)}: ${a} beside ${b} of the reference`);
    };
    for (const [i, text] of given.texts.entries())
      for (const [which, special] of (['none', 'all'] as const).entries())
        await requireSame({ kind: 'encode', texts: [text], special }, answer.encoded[i]![which]);
    for (const [i, ids] of given.ids.entries()) await requireSame({ kind: 'decode', ids }, answer.decoded[i]);
  },
});
