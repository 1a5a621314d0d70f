/**
 * The published builds of ONNX Runtime for Linux and macOS report their use to their maker, unless this is set before
 * the first session is made. A thread of its own has but a copy of the environment: the main thread must import this.
 */
process.env.ORT_DISABLE_TELEMETRY = '1';
