/** The operators that graphs are made of, and their attributes, as ONNX defines them (opset 20) or ONNX Runtime. */

/** A number is an integer to ONNX; floats are marked. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

type None = Readonly<Record<string, never>>;
type Reduction = Readonly<Record<'keepdims', 0 | 1>>;
type Axis = Readonly<Record<'axis', number>>;

/** Operator → its attributes, those that `ops.ts` sets. */
export interface OperatorAttributes {
  readonly Abs: None;
  readonly Add: None;
  /** `to`: float32 or uint8. */
  readonly Cast: { readonly to: 1 | 2 };
  readonly Clip: None;
  readonly Concat: Axis;
  readonly Conv: { readonly kernel_shape: readonly number[]; readonly strides: readonly number[] };
  readonly Div: None;
  readonly Equal: None;
  readonly Erf: None;
  readonly Exp: None;
  readonly Expand: None;
  readonly Gather: Axis;
  readonly Gelu: { readonly approximate: 'none' };
  readonly Gemm: { readonly transA: 0 | 1; readonly transB: 0 | 1 };
  readonly GreaterOrEqual: None;
  readonly LayerNormalization: { readonly axis: number; readonly epsilon: { readonly float: number } };
  readonly Log: None;
  readonly MatMul: None;
  readonly MatMulInteger: None;
  /** Of ONNX Runtime. */
  readonly MatMulNBits: Readonly<Record<'K' | 'N' | 'bits' | 'block_size', number>> & {
    readonly accuracy_level?: 4;
  };
  readonly Max: None;
  readonly Min: None;
  readonly Mul: None;
  readonly Neg: None;
  readonly Pad: { readonly mode: 'constant' };
  readonly Reciprocal: None;
  readonly ReduceMax: Reduction;
  readonly ReduceMean: Reduction;
  readonly ReduceMin: Reduction;
  readonly ReduceSum: Reduction;
  readonly Relu: None;
  readonly Reshape: { readonly allowzero?: 1 };
  readonly Round: None;
  readonly Sigmoid: None;
  readonly Sign: None;
  readonly Slice: None;
  readonly Softmax: Axis;
  readonly Split: Axis;
  readonly Sqrt: None;
  /** `STOP_GRADIENT`. */
  readonly StopGradient: None;
  readonly Sub: None;
  readonly Tanh: None;
  readonly TopK: Axis;
  readonly Transpose: { readonly perm: readonly number[] };
  readonly Where: None;
}

export type Operator = keyof OperatorAttributes;

/** The domain of an operator that is not of ONNX itself. */
export const DOMAINS: Readonly<Partial<Record<Operator, Domain>>> = { MatMulNBits: 'com.microsoft' };
/** The version of every domain's operators that graphs use; '' is ONNX itself. */
export const OPSETS = { '': 20, 'com.microsoft': 1 } as const;
export type Domain = keyof typeof OPSETS;
