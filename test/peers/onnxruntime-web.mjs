/**
 * Runs an exported ONNX model in ONNX Runtime's build for browsers, in WebAssembly. The argument is JSON: `packages` folder, `path` of
 * the model, `inputs` file, `shape` of one of them, how many are `compared`, and `out`, where their logits go as float32. Prints the
 * mean loss of the next token over all texts as JSON, null for pictures.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { packages, path, inputs, shape, compared, out } = JSON.parse(process.argv[2]);
const entry = join(packages, 'node_modules/onnxruntime-web/dist/ort.node.min.mjs');
const ort = await import(pathToFileURL(entry).href);
ort.env.wasm.numThreads = 1;

/** Texts or pictures that go through the model at once. */
const AT_ONCE = 8;
const isText = shape.length === 1;
const data = `${path}_data`;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(path)), {
  executionProviders: ['wasm'],
  ...(existsSync(data) && {
    externalData: [{ path: basename(data), data: new Uint8Array(readFileSync(data)) }],
  }),
});
const bytes = readFileSync(inputs);
const values = new (isText ? BigInt64Array : Float32Array)(Uint8Array.from(bytes).buffer);
const size = shape.reduce((a, b) => a * b);
const count = isText ? values.length / size : compared;

const kept = [];
let loss = 0;
for (let start = 0; start < count; start += AT_ONCE) {
  const some = values.slice(start * size, Math.min(count, start + AT_ONCE) * size);
  const batch = some.length / size;
  const { logits } = await session.run(
    isText ? textFeeds(some, batch) : { pixel_values: pictures(some, batch) },
  );
  if (start < compared) kept.push(logits.data.slice());
  if (isText) loss += lossOf(logits, some);
  logits.dispose();
}
writeFileSync(out, new Uint8Array(Float32Array.from(kept.flatMap((part) => [...part])).buffer));
console.log(JSON.stringify({ loss: isText ? loss / count : null }));

function pictures(some, batch) {
  return new ort.Tensor('float32', some, [batch, ...shape]);
}

function textFeeds(ids, batch) {
  const of = (value) => new ort.Tensor('int64', BigInt64Array.from(ids, value), [batch, size]);
  const feeds = {
    input_ids: of((id) => id),
    attention_mask: of(() => 1n),
    position_ids: of((_, i) => BigInt(i % size)),
  };
  for (const { name, shape: port } of session.inputMetadata.slice(3))
    feeds[name] = new ort.Tensor('float32', new Float32Array(0), [batch, port[1], 0, port[3]]);
  return feeds;
}

/** The sum over texts of the mean loss of every token but the first. */
function lossOf({ data: logits, dims: [batch, length, classes] }, ids) {
  let sum = 0;
  for (let text = 0; text < batch; text++)
    for (let at = 0; at + 1 < length; at++) {
      const row = logits.subarray((text * length + at) * classes, (text * length + at + 1) * classes);
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      const total = row.reduce((a, x) => a + Math.exp(x - most), 0);
      sum += (most + Math.log(total) - row[Number(ids[text * length + at + 1])]) / (length - 1);
    }
  return sum;
}
