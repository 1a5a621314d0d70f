/** Loops over vectors of numbers that are written by hand, on a memory of their own. */
import { UserError } from '../errors.js';
import { wasmModule, type WasmFunction } from './wasm.js';

export interface Room {
  /**
   * Room for arrays of so many bytes each, one after another, on what earlier ones left behind; these are lost. Nobody may
   * wait between `reserve` and what is made of it where others share the memory.
   * @returns where they begin
   */
  readonly reserve: (bytes: readonly number[]) => {
    readonly buffer: ArrayBuffer;
    readonly at: readonly number[];
  };
}

/** What Node has of it; its types are those of browsers. */
interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
const wasm = (
  globalThis as unknown as {
    readonly WebAssembly: {
      readonly Memory: new (size: { readonly initial: number }) => WasmMemory;
      readonly Module: new (bytes: Uint8Array) => object;
      readonly Instance: new (module: object, imports: object) => { readonly exports: object };
    };
  }
).WebAssembly;

const PAGE = 1 << 16;
/** Bytes of a vector, at whose multiples arrays begin. */
const VECTOR = 16;

/** @template E what the functions are, by name @returns what opens them on a memory of their own */
export function compileKernels<E extends object>(functions: readonly WasmFunction[]): () => E & Room {
  const module = new wasm.Module(wasmModule(functions));
  return () => {
    const memory = new wasm.Memory({ initial: 1 });
    const { exports } = new wasm.Instance(module, { host: { memory } });
    return { ...(exports as E), reserve: (bytes) => reserveIn(memory, bytes) };
  };
}

/** @template E what the functions are, by name */
export const openKernels = <E extends object>(functions: readonly WasmFunction[]): E & Room =>
  compileKernels<E>(functions)();

function reserveIn(memory: WasmMemory, bytes: readonly number[]): ReturnType<Room['reserve']> {
  const at: number[] = [];
  let end = 0;
  for (const size of bytes) {
    at.push(end);
    end += Math.ceil(size / VECTOR) * VECTOR;
  }
  const missing = Math.ceil((end - memory.buffer.byteLength) / PAGE);
  if (missing > 0) grow(memory, missing);
  return { buffer: memory.buffer, at };
}

function grow(memory: WasmMemory, pages: number): void {
  try {
    memory.grow(pages);
  } catch {
    throw new UserError(`There is no memory left for ${pages * PAGE} bytes more; close other programs.`);
  }
}

/** Numbers its locals: parameters first, then what is used besides. */
export function numbered<P extends string, L extends string>(
  parameters: Readonly<Record<P, number>>,
  others: Readonly<Record<L, number>>,
) {
  const names = [...Object.keys(parameters), ...Object.keys(others)];
  return {
    parameters: Object.values<number>(parameters),
    locals: Object.values<number>(others),
    of: Object.fromEntries(names.map((name, i) => [name, i])) as Record<P | L, number>,
  };
}
