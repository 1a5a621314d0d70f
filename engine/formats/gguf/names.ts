/** What GGUF calls the parameters of LLaMA and its kin, and how llama.cpp lays out queries and keys. */

/** Owners of weights and biases, by their names in a part: of the model itself, or of one of its blocks. */
export const TENSOR_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** Divisors of the frequencies of positions. */
export const DIVISORS = 'rope_freqs.weight';

/** The tensor of a parameter. @param local such as `mlp.up_proj.weight` @param block its number, -1 outside of blocks */
export function tensorName(local: string, block: number): string | undefined {
  const [, owner = '', kind = ''] = /^(.*)\.(weight|bias)$/.exec(local) ?? [];
  const name = TENSOR_NAMES[owner];
  return name === undefined ? undefined : `${block === -1 ? '' : `blk.${block}.`}${name}.${kind}`;
}

/** Whether rows of it are in another order where channels that are turned together are neighbours. */
export const isTurned = (local: string): boolean => /^self_attn\.[qk]_proj\.(weight|bias)$/.test(local);

/**
 * Where a row of queries or keys comes from whose channels that are turned together are neighbours: of a head of d, row 2j + t is
 * row t·d/2 + j.
 */
export function rowOfHalves(row: number, headSize: number): number {
  const [head, within] = [Math.floor(row / headSize) * headSize, row % headSize];
  return head + (within % 2) * (headSize / 2) + Math.floor(within / 2);
}
