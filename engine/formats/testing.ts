/** Shared by the tests of this folder. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { UserError } from '../errors.js';

/** A fresh folder for each test of the file; returns a function from names in it to their paths. */
export function useTemporaryFolder(): (...names: string[]) => string {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'formats-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
  return (...names) => join(folder, ...names);
}

/** The message of the `UserError` that `action` ends in, which must be one line. */
export async function complaint(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    const { message } = error as UserError;
    expect(message).not.toContain('\n');
    return message;
  }
  throw new Error('It was accepted.');
}

/** The bytes of a safetensors file with any header, right or wrong. */
export function safetensorsBytes(header: unknown, data: ArrayBufferView | number, length?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  const body =
    typeof data === 'number'
      ? Buffer.alloc(data)
      : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([prefix, json, body]);
}
