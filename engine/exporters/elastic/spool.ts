/** Arrays that wait in a file until their turn comes: a safetensors has its tensors by element size, and a layer's are made together. */
import { open, rm } from 'node:fs/promises';

/** What arrays of a layer are. */
export type Spooled = Float32Array | Uint8Array | Int8Array;

export interface Spool {
  put(name: string, data: Spooled): Promise<void>;
  /** What was put under a name. */
  take(name: string): Promise<Spooled>;
  has(name: string): boolean;
  /** Removes the file. */
  close(): Promise<void>;
}

/** @param path of a file that is not there */
export async function openSpool(path: string): Promise<Spool> {
  const handle = await open(path, 'wx+');
  const places = new Map<
    string,
    { readonly at: number; readonly data: (buffer: ArrayBuffer) => Spooled; readonly bytes: number }
  >();
  let end = 0;
  return {
    put: async (name, data) => {
      const at = end;
      end += data.byteLength;
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      for (let done = 0; done < bytes.length;)
        done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      const Kind = data.constructor as new (buffer: ArrayBuffer) => Spooled;
      places.set(name, { at, data: (buffer) => new Kind(buffer), bytes: data.byteLength });
    },
    take: async (name) => {
      const { at, data, bytes } = places.get(name)!;
      const found = new Uint8Array(bytes);
      for (let done = 0; done < bytes;) {
        const { bytesRead } = await handle.read(found, done, bytes - done, at + done);
        if (bytesRead === 0) throw new Error(`The spool ends before ${name}.`);
        done += bytesRead;
      }
      return data(found.buffer);
    },
    has: (name) => places.has(name),
    close: async () => {
      await handle.close();
      await rm(path, { force: true });
    },
  };
}
