/** Activations other than a family's own; the engine refuses the last. */
export const ACTIVATIONS = [
  'silu',
  'gelu',
  'gelu_python',
  'gelu_new',
  'gelu_fast',
  'gelu_accurate',
  'gelu_pytorch_tanh',
  'gelu_python_tanh',
  'quick_gelu',
  'relu',
  'mish',
];
