/** An ONNX file just as it is written, in a session of its own, on the CPU: no graph of this engine's, and no program that is kept. */
import './telemetry.js';
import * as ort from 'onnxruntime-node';

/** Elements of an input, row-major, and its shape. */
export interface FileInput {
  readonly data: Float32Array | BigInt64Array;
  readonly shape: readonly number[];
}

export interface WrittenFile {
  /** One float32 output of a run. Rejects with what ONNX Runtime says where it fails. */
  run(inputs: Readonly<Record<string, FileInput>>, output: string): Promise<Float32Array>;
}

/** Rejects with what ONNX Runtime says of a file that it does not load. @param threads 0 leaves them to ONNX Runtime */
export async function openWrittenFile(path: string, threads = 0): Promise<WrittenFile> {
  const session = await ort.InferenceSession.create(path, {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
  });
  return {
    run: async (inputs, output) => {
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, { data, shape }]) => {
          const type = data instanceof Float32Array ? 'float32' : 'int64';
          return [name, new ort.Tensor(type, data, shape)];
        }),
      );
      const { data } = (await session.run(feeds, [output]))[output]!;
      if (!(data instanceof Float32Array)) throw new Error(`"${output}" is not float32.`);
      return data;
    },
  };
}

/** Such as `ONNX Runtime 1.30.0`. */
export const runtimeName = (): string => `ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common}`;
