/** What people give as a model, or have in the place of a file, that is something else: said by its name, with what to do. */
import { readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { UserError } from '../errors.js';
import { show, statPath } from './paths.js';

const WANTED = 'models are read from a folder with config.json and safetensors';

const PYTORCH =
  'holds PyTorch weights, a format that can run code and is not read; convert them to safetensors';

/** By extension. */
const FORMATS: Readonly<Record<string, string>> = {
  '.gguf': `is GGUF, the format of llama.cpp; ${WANTED}: take the repository that it was made of, or make a folder of it with elastic-precision import`,
  '.ggml': `is GGML, a format of llama.cpp; ${WANTED}: take the repository that it was made of`,
  '.onnx': `is an ONNX graph; ${WANTED}: take the checkpoint that it was exported from`,
  '.h5': `is a Keras file; ${WANTED}: take the checkpoint that it was made of`,
  '.msgpack': `is a Flax file; ${WANTED}: take the checkpoint that it was made of`,
  '.safetensors': 'is a file of weights; give the folder that holds it and config.json',
  '.bin': PYTORCH,
  '.pt': PYTORCH,
  '.pth': PYTORCH,
};

const formatOf = (name: string) => FORMATS[extname(name).toLowerCase()];

/** Throws UserError where `path` is not a folder with a config.json but something else that can be named. */
export async function refuseOtherFormats(path: string): Promise<void> {
  const stats = await statPath(path).catch((error: unknown) => {
    throw withHubAdvice(error, path);
  });
  if (!stats.isDirectory()) {
    const format = formatOf(path);
    throw new UserError(format ? `${basename(path)} ${format}.` : `${basename(path)} is a file; ${WANTED}.`);
  }
  const names = await readdir(path);
  if (names.includes('config.json')) return;
  if (names.includes('snapshots') && names.includes('blobs'))
    throw new UserError(
      `${path} is a model's place in a Hugging Face cache; give the folder of a version in it, ${join(path, 'snapshots', '…')}.`,
    );
  const other = otherWeights(names);
  if (other !== undefined) throw new UserError(`${basename(path)} holds no config.json; ${other}.`);
}

/** A relative path of two parts that is not there may name a model of a hub. */
function withHubAdvice(error: unknown, path: string): unknown {
  const id = /^([\w-][\w.-]*)\/([\w-][\w.-]*)$/.exec(path);
  const isMissing = error instanceof UserError && error.message.includes('no such file or folder');
  if (!id || !isMissing) return error;
  return new UserError(
    `${error.message} If "${id[1]!}/${id[2]!}" is a model of the Hugging Face hub, get it first: ` +
      `elastic-precision get ${id[1]!}/${id[2]!}`,
    { cause: error },
  );
}

/** What a file is whose first bytes are not those of the format that its name says; undefined where nothing is known of it. */
export function describeOther(head: Uint8Array): string | undefined {
  // Where a header of safetensors begins.
  if (head[8] === 0x7b) return undefined;
  const text = Buffer.from(head.subarray(0, 64)).toString('latin1');
  if (text.startsWith('version https://git-lfs'))
    return 'is a Git LFS pointer, not the file itself: fetch that with "git lfs pull" in its folder';
  if (/^\s*<(!doctype|html|\?xml)/i.test(text))
    return 'is a web page, as servers send in place of a file: download it again';
  if (text.startsWith('GGUF')) return FORMATS['.gguf'];
  if (text.startsWith('PK\x03\x04') || (head[0] === 0x80 && head[1]! <= 5)) return PYTORCH;
  return undefined;
}

/** What weights a folder without safetensors has instead; undefined where it has none that can be named. */
export const describeWeights = async (folder: string): Promise<string | undefined> =>
  otherWeights(await readdir(folder));

function otherWeights(names: readonly string[]): string | undefined {
  const other = names.find((name) => formatOf(name) !== undefined && !name.endsWith('.safetensors'));
  return other === undefined ? undefined : `${show(other)} ${formatOf(other)!}`;
}
