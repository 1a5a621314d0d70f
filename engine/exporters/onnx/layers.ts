/** Layers and norms of a language model's parts as nodes of a network, on values [batch, length, features]. */
import { ZERO_STEP } from '../../graph/quantizers.js';
import type { LinearEntry } from '../../models/listing.js';
import type { DecoderLayout, Part } from '../../models/model.js';
import { hadamardFactors, hadamardMatrix } from '../../transforms/rotation/hadamard.js';
import type { ExportContext } from '../exporter.js';
import type { PartSteps, Steps } from './activations.js';
import { bytesOf, MICROSOFT, type NetworkBuilder } from './network.js';
import { isRotated } from './rotated.js';
import type { Constants, PackedConstants } from './weights.js';

/** Inputs of products are rounded to 8 bits in blocks: ONNX Runtime has fast kernels for that alone. */
const ACCURACY = 4;
/** TensorProto.DataType. */
const [FLOAT32, UINT8] = [1, 2];

export type Layers = ReturnType<typeof layersOn>;

export function layersOn(
  context: ExportContext,
  net: NetworkBuilder,
  constants: Constants,
  stepsOf: (part: Part) => PartSteps,
) {
  const { source } = context;
  const layer = (part: Part, name: string) =>
    source.checkpoint.listing(part).linears.find((each) => each.name === name)!;
  const known = new Map<string, string>();
  /** Layers that read one input alike share what is made of it. */
  const once = (key: string, make: () => string): string => {
    const value = known.get(key) ?? make();
    known.set(key, value);
    return value;
  };
  const turns = (part: Part, name: string) => isRotated(context) && part.roles?.gated === name;

  /** Whole numbers of steps, as floats, and the size of one. */
  const stepsOn = (key: string, x: string, { scale, lower, upper }: Steps) => {
    const size =
      scale === undefined ? once(`${key} size`, () => tokenScale(net, x, upper)) : net.float(scale);
    const steps = once(`${key} steps`, () =>
      net.node('Clip', [net.node('Round', [net.node('Div', [x, size])]), net.float(lower), net.float(upper)]),
    );
    return { steps, size };
  };
  /** The values of the nearest steps. */
  const roundedOn = (key: string, x: string, steps: Steps): string =>
    once(`${key} rounded`, () => {
      const found = stepsOn(key, x, steps);
      return net.node('Mul', [found.steps, found.size]);
    });
  const integerProduct = (
    key: string,
    x: string,
    steps: Steps,
    { type, integers, scales, zeros }: Extract<PackedConstants, { kind: 'integers' }>,
  ) => {
    const found = stepsOn(key, x, steps);
    const unsigned = once(`${key} integers`, () =>
      net.node('Cast', [net.node('Add', [found.steps, net.float(steps.offset)])], { to: UINT8 }),
    );
    const inputs = [unsigned, net.store(integers), net.byte(steps.offset)];
    if (type === 'uint8') inputs.push(net.store(zeros));
    const sums = net.node('Cast', [net.node('MatMulInteger', inputs)], { to: FLOAT32 });
    return net.node('Mul', [net.node('Mul', [sums, found.size]), net.store(scales)]);
  };
  const nbitsProduct = (
    x: string,
    { integers, scales, zeros, bits, block }: Extract<PackedConstants, { kind: 'nbits' }>,
    { in: columns, out }: Pick<LinearEntry, 'in' | 'out'>,
    roundsInput: boolean,
  ) => {
    const sizes = { K: columns, N: out, bits, block_size: block };
    const attributes = roundsInput ? { ...sizes, accuracy_level: ACCURACY } : sizes;
    return net.node('MatMulNBits', [x, ...[integers, scales, zeros].map(net.store)], attributes, MICROSOFT);
  };
  const product = (part: Part, name: string, read: string): string => {
    const entry = layer(part, name);
    const x = turns(part, name) ? rotatedOn(net, read, entry.in) : read;
    const packed = constants.packed(part, entry);
    if (!packed) {
      const weight = constants.parameter(part, `${name}.weight`, [entry.out, entry.in], true);
      return net.node('MatMul', [x, net.store(weight)]);
    }
    const input = stepsOf(part).inputs.get(name);
    const key = part.prefix + (input?.name ?? '');
    if (packed.kind === 'integers') return integerProduct(key, x, input!.steps, packed);
    return input
      ? nbitsProduct(roundedOn(key, x, input.steps), packed, entry, false)
      : nbitsProduct(x, packed, entry, true);
  };
  return {
    net,
    layer,
    nbitsProduct,
    linear: (part: Part, name: string, x: string): string => {
      const { bias, out } = layer(part, name);
      const y = product(part, name, x);
      return bias ? net.node('Add', [y, net.store(constants.parameter(part, `${name}.bias`, [out]))]) : y;
    },
    /** What enters a product of two activations, quantized where the set has it so. */
    operand: (part: Part, name: string | undefined, x: string): string => {
      const steps = name === undefined ? undefined : stepsOf(part).operands.get(name);
      return steps ? roundedOn(part.prefix + name, x, steps) : x;
    },
    /** Over the last axis. */
    rmsNorm: (part: Part, name: string, x: string, { epsilon }: DecoderLayout): string => {
      const { features } = source.checkpoint.listing(part).norms.find((norm) => norm.name === name)!;
      const mean = net.node('ReduceMean', [net.node('Mul', [x, x]), net.ints([-1])], { keepdims: 1 });
      const size = net.node('Sqrt', [net.node('Add', [mean, net.float(epsilon)])]);
      const weight = net.store(constants.parameter(part, `${name}.weight`, [features]));
      return net.node('Mul', [net.node('Div', [x, size]), weight]);
    },
  };
}

/** The step of each token: its largest magnitude is `upper` of them. */
function tokenScale(net: NetworkBuilder, x: string, upper: number): string {
  const most = net.node('ReduceMax', [net.node('Abs', [x]), net.ints([-1])], { keepdims: 1 });
  return net.node('Max', [net.node('Div', [most, net.float(upper)]), net.float(ZERO_STEP)]);
}

/** x·H/√size over the last axis, factor after factor, as sets of rotated models have it. */
function rotatedOn(net: NetworkBuilder, x: string, size: number): string {
  let [y, left, right] = [x, 1, size];
  for (const order of hadamardFactors(size)!) {
    right /= order;
    const apart = net.node('Reshape', [y, net.ints([0, 0, left, order, right])]);
    y = net.node('MatMul', [hadamardOn(net, order), apart]);
    left *= order;
  }
  return net.node('Reshape', [y, net.ints([0, 0, size])]);
}

/** Hᵀ/√order. */
const hadamardOn = (net: NetworkBuilder, order: number): string =>
  net.store({
    name: `hadamard.${order}`,
    dataType: 'float32',
    shape: [order, order],
    data: () => {
      const matrix = hadamardMatrix(order);
      const turned = Float32Array.from(
        matrix,
        (_, i) => matrix[(i % order) * order + Math.floor(i / order)]! / Math.sqrt(order),
      );
      return Promise.resolve(bytesOf(turned));
    },
  });
