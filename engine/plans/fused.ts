/** Layers that vLLM runs as one product, which it can only where one container holds them. */

/** What follows a block's name. */
const FUSED = [
  ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  ['mlp.gate_proj', 'mlp.up_proj'],
] as const;

/** The layers among `layers` that are run together, each group as full names. */
export function fusedLayers(layers: readonly string[]): readonly (readonly string[])[] {
  const known = new Set(layers);
  return layers.flatMap((layer) =>
    FUSED.filter(([first]) => layer.endsWith(`.${first}`)).map((group) => {
      const block = layer.slice(0, -group[0].length);
      return group.map((name) => block + name).filter((name) => known.has(name));
    }),
  );
}

/** Bits of layers, where those that are run together have the most that one of them has. */
export function tied(bits: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const raised = fusedLayers([...bits.keys()]).flatMap((group) => {
    const most = Math.max(...group.map((name) => bits.get(name)!));
    return group.map((name) => [name, most] as const);
  });
  return new Map([...bits, ...raised]);
}
