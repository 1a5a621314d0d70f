import { open, readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { UserError } from '../errors.js';
import { stageFile } from './atomic.js';
import type { StagedFile } from './atomic.js';
import { decodeOnnxModel } from './onnx-decode.js';
import { encodeOnnxModel } from './onnx-encode.js';
import type { OnnxExternalTensor, OnnxInlineTensor, OnnxModel, OnnxTensor } from './onnx-model.js';
import { fileError, resolveInside, show, sizeOfFile } from './paths.js';

const DEFAULT_THRESHOLD = 1024 * 1024;
/** External tensors start at multiples of this, so that a reader can map them. */
const ALIGNMENT = 4096;
const MAX_MODEL_BYTES = 2 ** 31 - 1;

/**
 * Writes a model. Initializers of at least `externalDataThreshold` bytes (1 MiB if not given) go to
 * `<file>.data` beside it, in their order, each at a multiple of 4096 bytes. Both files are complete on
 * the disk before either is renamed, the model last. Every initializer must be inline.
 */
export async function writeOnnxModel(
  path: string,
  model: OnnxModel,
  options: { readonly externalDataThreshold?: number } = {},
): Promise<void> {
  const { externalDataThreshold = DEFAULT_THRESHOLD } = options;
  const location = `${basename(path)}.data`;
  const large: { tensor: OnnxInlineTensor; offset: number }[] = [];
  let end = 0;
  const initializers = model.graph.initializers.map((tensor): OnnxTensor => {
    if (!('data' in tensor)) throw new Error(`Initializer ${tensor.name} must be loaded before writing.`);
    const { data, ...rest } = tensor;
    if (data.byteLength < Math.max(1, externalDataThreshold)) return tensor;
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = offset + data.byteLength;
    large.push({ tensor, offset });
    return { ...rest, external: { location, offset, length: data.byteLength } };
  });
  const bytes = encodeOnnxModel({ ...model, graph: { ...model.graph, initializers } });
  const staged: StagedFile[] = [];
  try {
    if (large.length > 0) staged.push(await stageFile(`${path}.data`, externalPieces(large)));
    staged.push(await stageFile(path, bytes));
    for (const file of staged) await file.commit();
  } finally {
    await Promise.all(staged.map((file) => file.discard()));
  }
}

// eslint-disable-next-line @typescript-eslint/require-await -- file writing takes an async iterable
async function* externalPieces(
  large: readonly { tensor: OnnxInlineTensor; offset: number }[],
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const { tensor, offset } of large) {
    yield new Uint8Array(offset - at);
    yield tensor.data;
    at = offset + tensor.data.byteLength;
  }
}

/**
 * Reads a model. External tensors stay on the disk, checked to lie inside a file in the model's own folder;
 * `readOnnxTensor` reads one, and `load: true` reads them all. Throws `UserError` as `decodeOnnxModel` does.
 */
export async function readOnnxModel(
  path: string,
  options: { readonly load?: boolean } = {},
): Promise<OnnxModel> {
  const where = basename(path);
  const size = await sizeOfFile(path);
  if (size > MAX_MODEL_BYTES) throw new UserError(`${where}: ${size} bytes, above ONNX's limit of 2 GiB.`);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  const model = decodeOnnxModel(bytes, where);
  const initializers: OnnxTensor[] = [];
  for (const tensor of model.graph.initializers) {
    if ('external' in tensor) await locate(path, tensor);
    const loaded = options.load && 'external' in tensor;
    initializers.push(loaded ? inline(tensor, await readOnnxTensor(path, tensor)) : tensor);
  }
  for (const node of model.graph.nodes)
    for (const attribute of Object.values(node.attributes))
      if (attribute.type === 'tensor' && 'external' in attribute.value) await locate(path, attribute.value);
  return { ...model, graph: { ...model.graph, initializers } };
}

/** The bytes of a tensor of the model at `path`, read by range where they lie outside the model. */
export async function readOnnxTensor(path: string, tensor: OnnxTensor): Promise<Uint8Array> {
  if ('data' in tensor) return tensor.data;
  const file = await locate(path, tensor);
  const { offset, length } = tensor.external;
  const bytes = new Uint8Array(length);
  const handle = await open(file, 'r');
  try {
    let done = 0;
    while (done < length) {
      const count = Math.min(length - done, 0x4000_0000);
      const { bytesRead } = await handle.read(bytes, done, count, offset + done);
      if (bytesRead === 0) throw new UserError(`${basename(file)}: ends too early; did it change?`);
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return bytes;
}

/** The file that holds an external tensor of the model at `path`, long enough for it. */
async function locate(path: string, tensor: OnnxExternalTensor): Promise<string> {
  const where = `${basename(path)}: tensor ${show(tensor.name)}`;
  const { location, offset, length } = tensor.external;
  const file = await resolveInside(dirname(path), location, where);
  const size = await sizeOfFile(file);
  if (offset + length > size)
    throw new UserError(`${where} ends at byte ${offset + length} of ${location}, which has ${size}.`);
  return file;
}

const inline = ({ name, dataType, shape }: OnnxTensor, data: Uint8Array): OnnxInlineTensor => ({
  name,
  dataType,
  shape,
  data,
});
