/** Checkpoints of every family beside transformers: configurations of both generations, stored as others store them. */
import { afterAll } from 'vitest';
import { UserError } from '../../engine/errors.js';
import { openPlainModel } from '../../engine/execution/model.js';
import { openCheckpoint } from '../../engine/models/checkpoint.js';
import type { VisionModel } from '../../engine/models/model.js';
import { openPrograms } from '../../engine/runtime/programs.js';
import { openRuntime } from '../../engine/runtime/session.js';
import { drawText } from './configs/text.js';
import { drawVision } from './configs/vision.js';
import { expectClose, floats, peerSuite, type Case } from './suite.js';

type Config = Readonly<Record<string, unknown>>;

export interface Stored {
  readonly dtype: 'F64' | 'F32' | 'F16' | 'BF16';
  readonly shards: number;
  /** Whether the index of shards names a tensor that there is not. */
  readonly indexed?: boolean;
  /** As usual; without the model's prefix; as the code of transformers 5 has them. */
  readonly names: 'usual' | 'bare' | 'newer';
  /** What is stored of a tied table: the table, or it as the head, or both, equal or not; nothing is said of others. */
  readonly head?: 'table' | 'head' | 'equal' | 'other';
  /** The dtype of a tensor that no model has. */
  readonly spare?: string;
}

export interface CheckpointCase extends Case {
  readonly config: Config;
  readonly stored: Stored;
  readonly batch: number;
  /** Of language models. */
  readonly tokens?: number;
}

interface Answer {
  readonly error?: string;
  readonly ids?: readonly number[];
  readonly pixels?: string;
  readonly logits: string;
  /** How far the reference's logits move by rounding alone: a norm over two channels, say, makes much of little. */
  readonly rounding: number;
}

/** Roundings that an implementation may be off by beside the tolerance. */
const ROUNDINGS = 8;

const runtime = openRuntime('cpu', 1);
afterAll(() => runtime.dispose());

peerSuite<CheckpointCase, Answer>({
  name: 'checkpoints',
  python: 'checkpoints.py',
  cases: 700,
  make: (draw, seed) => ({ seed, ...(draw.chance(0.7) ? drawText(draw) : drawVision(draw)) }),
  check: async (given, answer, folder) => {
    if (answer.error !== undefined) {
      const refusal = await logitsOf(given, answer, folder).catch((error: unknown) => error);
      if (refusal instanceof UserError) return;
      throw new Error(`the reference refuses it: ${answer.error}`);
    }
    expectClose(
      await logitsOf(given, answer, folder),
      floats(answer.logits),
      1e-4,
      'logits',
      ROUNDINGS * answer.rounding,
    );
  },
});

/** By the engine's own path of evaluation. */
async function logitsOf(
  { batch, tokens }: CheckpointCase,
  { ids = [], pixels = '' }: Answer,
  folder: string,
): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(folder, tokens === undefined ? {} : { tokens });
  const programs = openPrograms(runtime);
  try {
    const model = await openPlainModel(programs, checkpoint);
    const input =
      tokens === undefined
        ? runtime.tensor(floats(pixels), imageShape(checkpoint.model as VisionModel, batch))
        : runtime.tensor(BigInt64Array.from(ids, BigInt), [batch, tokens]);
    const logits = await model.run(input, batch);
    input.dispose();
    model.dispose();
    return logits;
  } finally {
    await programs.release();
    await checkpoint.close();
  }
}

const imageShape = ({ image }: VisionModel, batch: number) => [
  batch,
  image.channels,
  image.height,
  image.width,
];
