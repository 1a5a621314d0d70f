import { createHash } from 'node:crypto';
import type { TensorSource } from './safetensors.js';

const RANGE_BYTES = 64 * 1024;
const RANGES = 4;

/**
 * A name for the content of a model: SHA-256 as 64 hex digits, the same wherever the files lie and however
 * they are sharded, without reading gigabytes. It covers the text of config.json, every tensor's name,
 * dtype and shape, and of each tensor's stored bytes all up to 256 KiB, or four ranges of 64 KiB, evenly
 * spaced from first to last byte (docs/FORMATS.md, "Model fingerprint").
 */
export async function fingerprintModel(source: TensorSource, configText: string): Promise<string> {
  const hash = createHash('sha256');
  hash.update(`elastic-precision model 1\n${JSON.stringify(configText)}\n`);
  for (const name of [...source.tensors.keys()].sort()) {
    const { dtype, shape, byteLength } = source.tensors.get(name)!;
    hash.update(`${JSON.stringify([name, dtype, shape])}\n`);
    if (byteLength <= RANGES * RANGE_BYTES) {
      hash.update(await source.readBytes(name));
      continue;
    }
    for (let i = 0; i < RANGES; i++) {
      const begin = Math.floor((i * (byteLength - RANGE_BYTES)) / (RANGES - 1));
      hash.update(await source.readBytes(name, begin, begin + RANGE_BYTES));
    }
  }
  return hash.digest('hex');
}
