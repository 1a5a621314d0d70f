/** What an image classifier says of a picture. */
import { Buffer } from 'node:buffer';
import { decodeImage } from '../../data/decode.js';
import { readPreprocessor } from '../../data/preprocessor.js';
import { UserError } from '../../errors.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { VisionModel } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { likeliest } from '../likeliest.js';
import type { Predict } from '../task.js';

export async function picturePredictor(
  { runtime }: Programs,
  { folder, model: { image, classNames, family } }: Checkpoint<VisionModel>,
): Promise<Predict> {
  const preprocessor = await readPreprocessor(folder, { channels: image.channels, imageSize: image, family });
  return async (input, model) => {
    if (!('picture' in input)) throw new UserError('The model classifies pictures; it was given a text.');
    const pixels = await decodeImage(Buffer.from(input.picture, 'base64'), preprocessor).catch(
      (error: unknown) => {
        throw error instanceof UserError
          ? new UserError(`The picture cannot be read: ${error.message}`, { cause: error })
          : error;
      },
    );
    const x = runtime.tensor(pixels, [1, image.channels, image.height, image.width]);
    const logits = await model.run(x, 1);
    return {
      classes: likeliest(logits).map(({ index, probability }) => ({
        label: classNames.get(index) ?? String(index),
        probability,
      })),
    };
  };
}
