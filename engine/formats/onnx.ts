/** ONNX models: plain typed values, their protobuf bytes, and their files. */
export { decodeOnnxModel } from './onnx-decode.js';
export { encodeOnnxModel } from './onnx-encode.js';
export { readOnnxModel, readOnnxTensor, writeOnnxModel } from './onnx-file.js';
export { onnxByteLength, onnxTensor } from './onnx-model.js';
export type {
  OnnxAttribute,
  OnnxDataType,
  OnnxExternalTensor,
  OnnxGraph,
  OnnxInlineTensor,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
  OnnxValueInfo,
} from './onnx-model.js';
