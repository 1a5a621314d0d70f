/** Samples of GGUF. */
import { f32, ggufPieces, text, u32, type Metadata } from '../../engine/exporters/gguf/file.js';
import { F32 } from '../../engine/exporters/gguf/weights.js';

/** Two models of one block, of which one has a tokenizer of bytes and the other one of pieces. */
export async function ggufFiles(): Promise<Buffer[]> {
  const sizes = [
    'context_length',
    'embedding_length',
    'feed_forward_length',
    'block_count',
    'attention.head_count',
  ];
  const metadata = [
    ['general.architecture', text('llama')],
    ...sizes.map((key) => [`llama.${key}`, u32(key === 'block_count' ? 1 : 2)] as const),
    ['llama.attention.layer_norm_rms_epsilon', f32(1e-5)],
    ['llama.rope.freq_base', f32(1e4)],
    ['tokenizer.ggml.tokens', text(['a', 'bc', 'abc', 'd'])],
    ['tokenizer.ggml.bos_token_id', u32(0)],
  ] as const;
  const bytes = [
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('gpt-2')],
    ['tokenizer.ggml.merges', text(['a bc'])],
  ] as const;
  const pieces = [
    ['tokenizer.ggml.model', text('llama')],
    ['tokenizer.ggml.scores', { type: 'f32', value: [0, -1, -2, -3] }],
  ] as const;
  const table = (name: string, ...shape: number[]) => {
    const data = () => Promise.resolve(new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)));
    return { name: `${name}.weight`, shape, type: F32, data };
  };
  const layers = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'];
  const tensors = [
    table('token_embd', 4, 2),
    ...['output_norm', 'blk.0.attn_norm', 'blk.0.ffn_norm'].map((name) => table(name, 2)),
    ...layers.map((name) => table(`blk.0.${name}`, 2, 2)),
  ];
  const file = async (own: Metadata) => {
    const written: Uint8Array[] = [];
    for await (const piece of ggufPieces([...metadata, ...own], tensors)) written.push(piece);
    return Buffer.concat(written);
  };
  return Promise.all([bytes, pieces].map(file));
}
