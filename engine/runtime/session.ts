/** The one place that talks to ONNX Runtime: compiles graphs for a device and runs them there. */
import './telemetry.js';
import * as ort from 'onnxruntime-node';
import { CancelledError, messageOf, UserError } from '../errors.js';
import { encodeOnnxModel } from '../formats/onnx.js';
import { toOnnx } from '../graph/lower.js';
import { Graph, sizeOf, type DType, type Shape, type TensorData, type Value } from '../graph/ir.js';
import type { DeviceKind } from '../protocol/protocol.js';
import { disposeRemembered, remembered } from './remembered.js';

/** A tensor where the device left it. Elements are read by `Runtime.read`, never directly. */
export interface Tensor {
  readonly type: DType;
  readonly shape: Shape;
  /** Frees device memory; only tensors that a program left on the device need it, and they do need it. Once is enough. */
  dispose(): void;
}

/** A compiled graph. It holds on to the device copies of its latest inputs and outputs until its next run. */
export interface Program {
  readonly name: string;
  /**
   * Runs it on one tensor for every declared input; others are ignored. The outputs lie where `CompileOptions.keep` says.
   * @param into tensors on the CPU, of an output's type and shape, that a run on the CPU puts the output in; others leave
   * them as they were
   */
  run(
    feeds: Readonly<Record<string, Tensor>>,
    into?: Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>>;
  /** Ends it. Tensors that it left on the device stay valid until they are disposed of. */
  dispose(): Promise<void>;
}

export interface CompileOptions {
  /**
   * Whether outputs stay on the device, to be fed to further runs. False brings them to the CPU. Default true.
   * Only WebGPU keeps them: the Node binding of ONNX Runtime knows no tensors in CUDA memory, so there they always come back.
   */
  readonly keep?: boolean;
  /** What ONNX Runtime prints to stderr: 0 everything (see `placement.ts`), 4 nothing but fatal errors. Default 3. */
  readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4;
  /** Records the time of every operator; the record's file begins with this path and is complete after `dispose` (see `profile.ts`). */
  readonly profile?: string;
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
  /** Ends what `place` and `read` compiled; programs are their owners' to dispose of. */
  dispose(): Promise<void>;
}

class OrtTensor implements Tensor {
  /** @param onDispose called once, after device memory was freed */
  constructor(
    readonly ort: ort.Tensor,
    private readonly onDispose?: () => void,
  ) {}
  get type(): DType {
    return this.ort.type as DType;
  }
  get shape(): Shape {
    return this.ort.dims;
  }
  dispose(): void {
    if (this.ort.location !== 'gpu-buffer') return;
    this.ort.dispose();
    this.onDispose?.();
  }
}

/**
 * Opens a device. Nothing is checked until a graph is compiled for it: see `devices.ts` for what is there.
 * @param threads how many CPU threads a run may use; 0 leaves it to ONNX Runtime (one per physical core)
 * @param signal once aborted, nothing more is compiled or run: what is asked for rejects with CancelledError
 */
export function openRuntime(device: DeviceKind, threads = 0, signal?: AbortSignal): Runtime {
  const compile = async (graph: Graph, name: string, options: CompileOptions = {}): Promise<Program> => {
    if (signal?.aborted) throw new CancelledError();
    const { keep = true, logSeverityLevel = 3, profile } = options;
    const onDevice = keep && device === 'webgpu';
    try {
      const session = await ort.InferenceSession.create(encodeOnnxModel(toOnnx(graph, name)), {
        executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        // Every session has threads of its own, and many take turns: those that wait would take the cores from those that work.
        extra: { session: { intra_op: { allow_spinning: '0' } } },
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        // Planned ahead, a run's memory would be one more region beside that of the first run, which stays.
        enableMemPattern: false,
        preferredOutputLocation: onDevice ? 'gpu-buffer' : 'cpu',
        logId: name,
        logSeverityLevel,
        ...(profile !== undefined && { enableProfiling: true, profileFilePrefix: profile }),
      });
      return openProgram(session, name, device, graph.inputs, signal);
    } catch (error) {
      throw new UserError(`The device "${device}" cannot run "${name}": ${firstLine(error)}`);
    }
  };

  const copies = new Map<string, Promise<Program>>();
  /** The tensor copied by a program whose output is its input. */
  const copy = async (tensor: Tensor, keep: boolean): Promise<OrtTensor> => {
    const { type, shape } = tensor;
    const name = `copy ${keep ? 'to' : 'from'} the device, ${describe(tensor)}`;
    const program = await remembered(copies, name, () => compile(copyGraph(type, shape), name, { keep }));
    return (await program.run({ x: tensor })).y as OrtTensor;
  };

  return {
    device,
    compile,
    tensor: (data, shape) => {
      if (data.length !== sizeOf(shape))
        throw new Error(`${data.length} elements do not fill the shape [${shape.join(', ')}].`);
      const type =
        data instanceof Float32Array ? 'float32' : data instanceof BigInt64Array ? 'int64' : 'bool';
      return new OrtTensor(new ort.Tensor(type, data, shape));
    },
    place: async (tensor) => (device === 'webgpu' ? copy(tensor, true) : tensor),
    // Reading a GPU tensor directly aborts the process: a program whose output is on the CPU copies it instead.
    read: async (tensor) => {
      if (tensor.type !== 'float32')
        throw new Error(`Elements of a tensor of ${tensor.type} were asked for as float32.`);
      const source = (tensor as OrtTensor).ort;
      return (source.location === 'gpu-buffer' ? (await copy(tensor, false)).ort : source)
        .data as Float32Array;
    },
    dispose: () => disposeRemembered(copies),
  };
}

function copyGraph(type: DType, shape: Shape): Graph {
  const graph = new Graph();
  graph.output('y', graph.input('x', shape, type));
  return graph;
}

/**
 * A session owns the memory of the tensors it leaves on the device: freeing one after its session ends the process. The
 * session is therefore released with the last of them.
 */
function openProgram(
  session: ort.InferenceSession,
  name: string,
  device: DeviceKind,
  declared: ReadonlyMap<string, Value>,
  signal: AbortSignal | undefined,
): Program {
  let left = 0;
  let closed = false;
  const releaseIfDone = async () => {
    if (closed && left === 0) {
      session.endProfiling();
      await session.release();
    }
  };
  const wrap = (tensor: ort.Tensor): Tensor => {
    if (tensor.location !== 'gpu-buffer') return new OrtTensor(tensor);
    left++;
    return new OrtTensor(tensor, () => {
      left--;
      void releaseIfDone();
    });
  };
  return {
    name,
    run: async (feeds, into = {}) => {
      if (closed) throw new Error(`The program "${name}" was disposed of.`);
      if (signal?.aborted) throw new CancelledError();
      const inputs = Object.fromEntries(
        session.inputNames.map((key) => [key, fed(feeds, key, declared.get(key)!, name)]),
      );
      for (const key of Object.keys(into))
        if (!session.outputNames.includes(key))
          throw new Error(`The graph "${name}" has no output "${key}".`);
      const fetches = Object.fromEntries(
        session.outputNames.map((key) => [
          key,
          device === 'cpu' && into[key] ? (into[key] as OrtTensor).ort : null,
        ]),
      );
      try {
        const outputs = await session.run(inputs, fetches);
        return Object.fromEntries(session.outputNames.map((key) => [key, wrap(outputs[key]!)]));
      } catch (error) {
        throw new UserError(`The device "${device}" failed while running "${name}": ${firstLine(error)}`);
      }
    },
    dispose: async () => {
      if (closed) return;
      closed = true;
      await releaseIfDone();
    },
  };
}

/** What was fed to the input `key`, checked against its declaration. */
function fed(
  feeds: Readonly<Record<string, Tensor>>,
  key: string,
  declaration: Value,
  name: string,
): ort.Tensor {
  const tensor = feeds[key] as OrtTensor | undefined;
  if (!tensor)
    throw new Error(
      `The graph "${name}" needs the input "${key}"; it was fed ${Object.keys(feeds).join(', ') || 'nothing'}.`,
    );
  if (tensor.ort.location === 'none')
    throw new Error(`The tensor fed to "${key}" of the graph "${name}" was disposed of.`);
  if (describe(tensor) !== describe(declaration))
    throw new Error(
      `The input "${key}" of the graph "${name}" is ${describe(declaration)}; it was fed ${describe(tensor)}.`,
    );
  return tensor.ort;
}

const describe = ({ type, shape }: { type: DType; shape: Shape }) => `${type} [${shape.join(', ')}]`;
const firstLine = (error: unknown) => messageOf(error).split('\n')[0]!;
