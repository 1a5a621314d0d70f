/** Reads GGUF by the format's specification alone, for tests. */
import { q2_K, q3_K, q4_0, q4_1, q4_K, q5_1, q5_K, q6_K, q8_0 } from '../engine/formats/gguf/blocks.js';
import { decodeWeight, F16, F32 } from '../engine/exporters/gguf/weights.js';

const TYPES = [F32, F16, q2_K, q3_K, q4_0, q4_1, q4_K, q5_1, q5_K, q6_K, q8_0];

/** Keys and values, and all tensors. Throws where it is no such file. */
export function readGguf(file: Buffer) {
  let place = 0;
  const u32 = () => file.readUInt32LE((place += 4) - 4);
  const u64 = () => Number(file.readBigUInt64LE((place += 8) - 8));
  const string = () => {
    const length = u64();
    return file.toString('utf8', place, (place += length));
  };
  const value = (type: number): unknown => {
    switch (type) {
      case 4:
        return u32();
      case 5:
        return file.readInt32LE((place += 4) - 4);
      case 6:
        return file.readFloatLE((place += 4) - 4);
      case 7:
        return file[place++] === 1;
      case 8:
        return string();
      default: {
        const inner = u32();
        return Array.from({ length: u64() }, () => value(inner));
      }
    }
  };
  if (file.toString('latin1', 0, (place += 4)) !== 'GGUF' || u32() !== 3)
    throw new Error('This is not GGUF 3.');
  const [count, keys] = [u64(), u64()];
  const metadata: Record<string, unknown> = {};
  for (let i = 0; i < keys; i++) metadata[string()] = value(u32());
  const listed = Array.from({ length: count }, () => {
    const [name, dimensions] = [string(), u32()];
    const shape = Array.from({ length: dimensions }, u64).reverse();
    const id = u32();
    return { name, shape, type: TYPES.find((type) => type.id === id)!, offset: u64() };
  });
  const start = Math.ceil(place / 32) * 32;
  const tensors = new Map(
    listed.map(({ name, shape, type, offset }) => {
      const elements = shape.reduce((a, b) => a * b);
      const bytes = Uint8Array.from(
        file.subarray(start + offset, start + offset + (elements / type.elements) * type.bytes),
      );
      const floats = type === F32 ? new Float32Array(bytes.buffer) : decodeWeight(bytes, type);
      return [name, { shape, type: type.name, floats }];
    }),
  );
  return { metadata, tensors };
}
