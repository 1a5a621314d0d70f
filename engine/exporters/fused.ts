/** Layers that vLLM runs as one product, which it can only where one container holds them. */
import { show } from '../formats/paths.js';

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

/** What is wrong for vLLM with layers that are held so, in one line; undefined where nothing is. @param held what holds each */
export function untied(held: ReadonlyMap<string, string>): string | undefined {
  const apart = fusedLayers([...held.keys()]).filter(
    (group) => new Set(group.map((name) => held.get(name))).size > 1,
  );
  const [first] = apart;
  if (!first) return undefined;
  const names = first.map((name) => `${name.split('.').at(-1)} in ${held.get(name)}`).join(', ');
  const others = apart.length > 1 ? `, and ${apart.length - 1} more such groups` : '';
  const block = first[0]!.split('.').slice(0, -2).join('.');
  return `vLLM runs these layers as one and cannot at different bits: ${show(block)} has ${names}${others}. Tie them for vLLM; other readers load them as they are.`;
}
