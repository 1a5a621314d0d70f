/** The one place that talks to ONNX Runtime: compiles graphs for a device and runs them there. */
import * as ort from 'onnxruntime-node';
import { messageOf, UserError } from '../errors.js';
import { encodeOnnxModel } from '../formats/onnx.js';
import { toOnnx } from '../graph/lower.js';
import { Graph, sizeOf, type DType, type Shape, type TensorData } from '../graph/ir.js';
import * as op from '../graph/ops.js';

export type DeviceKind = 'cpu' | 'webgpu' | 'cuda';

/** A tensor where the device left it. Elements are read by `Runtime.read`, never directly. */
export interface Tensor {
  readonly type: DType;
  readonly shape: Shape;
  /** Frees device memory; only tensors that a program left on the device need it, and they do need it. */
  dispose(): void;
}

/** A compiled graph. */
export interface Program {
  readonly name: string;
  /** Runs it on one tensor for every declared input; the outputs lie where `CompileOptions.keep` says. */
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  dispose(): Promise<void>;
}

export interface CompileOptions {
  /** Whether outputs stay on the device, to be fed to further runs. False brings them to the CPU. Default true. */
  readonly keep?: boolean;
  /** What ONNX Runtime prints: 0 everything (node placement included), 4 nothing but fatal errors. Default 3. */
  readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4;
}

/** A device that is open. One process should hold one WebGPU runtime. */
export interface Runtime {
  readonly device: DeviceKind;
  compile(graph: Graph, name: string, options?: CompileOptions): Promise<Program>;
  /** A tensor over `data`, which must not change while the tensor is in use. */
  tensor(data: TensorData, shape: Shape): Tensor;
  /** The same tensor in device memory, for inputs that many runs share; the caller disposes of it. */
  place(tensor: Tensor): Promise<Tensor>;
  /** The elements of a float32 tensor. */
  read(tensor: Tensor): Promise<Float32Array>;
  dispose(): Promise<void>;
}

class OrtTensor implements Tensor {
  constructor(readonly ort: ort.Tensor) {}
  get type(): DType {
    return this.ort.type as DType;
  }
  get shape(): Shape {
    return this.ort.dims;
  }
  dispose(): void {
    if (this.ort.location !== 'cpu') this.ort.dispose();
  }
}

/**
 * Opens a device. Nothing is checked until a graph is compiled for it: see `devices.ts` for what is there.
 * @param threads how many CPU threads a run may use; 0 leaves it to ONNX Runtime (one a physical core)
 */
export function openRuntime(device: DeviceKind, threads = 0): Runtime {
  const copies = new Map<string, Promise<Program>>();
  const copy = async (tensor: Tensor, keep: boolean): Promise<OrtTensor> => {
    const key = `${keep ? 'to' : 'from'} device [${tensor.shape.join(', ')}]`;
    let program = copies.get(key);
    if (!program) {
      const graph = new Graph();
      graph.output('y', op.reshape(graph.input('x', tensor.shape), [...tensor.shape, 1]));
      copies.set(key, (program = compile(graph, key, { keep })));
    }
    const { y } = await (await program).run({ x: tensor });
    return y as OrtTensor;
  };

  const compile = async (graph: Graph, name: string, options: CompileOptions = {}): Promise<Program> => {
    const { keep = true, logSeverityLevel = 3 } = options;
    const onDevice = keep && device === 'webgpu';
    try {
      const session = await ort.InferenceSession.create(encodeOnnxModel(toOnnx(graph, name)), {
        executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        preferredOutputLocation: onDevice ? 'gpu-buffer' : 'cpu',
        logSeverityLevel,
      });
      return program(session, name, device);
    } catch (error) {
      throw new UserError(`The device "${device}" cannot run "${name}": ${firstLine(error)}`);
    }
  };

  return {
    device,
    compile,
    tensor: (data, shape) => {
      if (data.length !== sizeOf(shape)) throw new Error(`${data.length} elements do not fill the shape [${shape.join(', ')}].`);
      const type = data instanceof Float32Array ? 'float32' : data instanceof BigInt64Array ? 'int64' : 'bool';
      return new OrtTensor(new ort.Tensor(type, data, shape));
    },
    place: async (tensor) => {
      if (device !== 'webgpu') return tensor;
      const placed = await copy(tensor, true);
      return new OrtTensor(placed.ort.reshape(tensor.shape));
    },
    // Reading a GPU tensor directly aborts the process: a program whose output is on the CPU copies it instead.
    read: async (tensor) => {
      const source = (tensor as OrtTensor).ort;
      return (source.location === 'cpu' ? source : (await copy(tensor, false)).ort).data as Float32Array;
    },
    dispose: async () => {
      for (const program of copies.values()) await (await program).dispose();
      copies.clear();
    },
  };
}

function program(session: ort.InferenceSession, name: string, device: DeviceKind): Program {
  return {
    name,
    run: async (feeds) => {
      const inputs: Record<string, ort.Tensor> = {};
      for (const key of session.inputNames) {
        const tensor = feeds[key];
        if (!tensor) throw new Error(`The graph "${name}" needs the input "${key}".`);
        inputs[key] = (tensor as OrtTensor).ort;
      }
      try {
        const outputs = await session.run(inputs);
        return Object.fromEntries(session.outputNames.map((key) => [key, new OrtTensor(outputs[key]!)]));
      } catch (error) {
        throw new UserError(`The device "${device}" failed while running "${name}": ${firstLine(error)}`);
      }
    },
    dispose: () => session.release(),
  };
}

const firstLine = (error: unknown) => messageOf(error).split('\n')[0]!;
