/** The weights of an elastic file as a checkpoint's: those in codes of 8 bits by their values (docs/FORMATS.md, "Elastic file"). */
import { UserError } from '../errors.js';
import { show } from './paths.js';
import type { TensorInfo } from './safetensors-header.js';
import type { TensorSource } from './safetensors.js';

/** In the metadata of such a file: which version of its layout it has. */
export const ELASTIC_KEY = 'elastic_precision';
export const ELASTIC_VERSION = '1';

const CODES = '.base.codes';
const PARTS = ['.base.codes', '.base.scale', '.base.zero'] as const;
/** What else a layer has, for its bit-widths. */
const OF_WIDTHS =
  /\.(?:base\.(?:scale|zero|codes)|(?:scale|zero|codes|near|up|act_scale|act_zero)\.\d|lora_[AB](?:_scale)?)$/;

/** Whether a file is one. */
export const isElastic = ({ metadata }: Pick<TensorSource, 'metadata'>): boolean => metadata.has(ELASTIC_KEY);

/**
 * Tensors of a checkpoint: for the codes of `<name>` the values of `<name>.weight` in float32, and the parameters in floating point.
 * The bytes of such a weight are those that are stored for it. Throws UserError for codes without a scale and a zero point for
 * each row, and for a layout that is newer.
 */
export function elasticWeights(source: TensorSource, label: string): TensorSource {
  const version = source.metadata.get(ELASTIC_KEY);
  if (version !== ELASTIC_VERSION)
    throw new UserError(
      `${label}: an elastic file of version ${show(version, 20)}; this version of Elastic Precision reads ${ELASTIC_VERSION}.`,
    );
  const tensors = new Map<string, TensorInfo>();
  const owners = new Map<string, string>();
  for (const info of source.tensors.values()) {
    const { name } = info;
    if (!name.endsWith(CODES)) {
      if (!OF_WIDTHS.test(name)) tensors.set(name, info);
      continue;
    }
    const owner = name.slice(0, -CODES.length);
    const weight = `${owner}.weight`;
    const parts = partsOf(source, owner, label);
    if (source.tensors.has(weight))
      throw new UserError(`${label}: both ${show(weight)} and ${show(name)} are there; one must be.`);
    owners.set(weight, owner);
    const byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0);
    tensors.set(weight, { ...info, name: weight, dtype: 'F32', byteLength });
  }
  const readBytes: TensorSource['readBytes'] = async (name, begin = 0, end) => {
    const owner = owners.get(name);
    if (owner === undefined) return source.readBytes(name, begin, end);
    const pieces = await Promise.all(PARTS.map((part) => source.readBytes(owner + part)));
    return Uint8Array.from(Buffer.concat(pieces)).slice(begin, end);
  };
  const readRows = async (name: string, start: number, end: number): Promise<Float32Array> => {
    const owner = owners.get(name);
    if (owner === undefined) return source.readRows(name, start, end);
    const { byteLength, shape } = source.tensors.get(owner + CODES)!;
    const columns = byteLength / shape[0]!;
    const [codes, scale, zero] = await Promise.all([
      source.readBytes(owner + CODES, start * columns, end * columns),
      source.readRows(`${owner}.base.scale`, start, end),
      source.readBytes(`${owner}.base.zero`, start, end),
    ]);
    return Float32Array.from(codes, (code, i) => {
      const row = Math.floor(i / columns);
      return scale[row]! * (code - zero[row]!);
    });
  };
  return {
    ...source,
    tensors,
    readBytes,
    readRows,
    read: async (name) => {
      const owner = owners.get(name);
      return owner === undefined ? source.read(name) : readRows(name, 0, tensors.get(name)!.shape[0]!);
    },
  };
}

function partsOf(source: TensorSource, owner: string, label: string): TensorInfo[] {
  const codes = source.tensors.get(owner + CODES)!;
  const [rows] = codes.shape;
  return PARTS.map((part) => {
    const info = source.tensors.get(owner + part);
    const isCodes = part === CODES;
    const isRight =
      info?.dtype === (part === '.base.scale' ? 'F32' : 'U8') &&
      (isCodes ? info.shape.length > 1 && rows! > 0 : info.shape.length === 1 && info.shape[0] === rows);
    if (!info || !isRight)
      throw new UserError(
        `${label}: ${show(owner)} needs base.codes of at least two axes in U8, and of each row a base.scale in F32 and a base.zero in U8.`,
      );
    return info;
  });
}
