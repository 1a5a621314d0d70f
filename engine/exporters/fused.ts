/** What readers of an export say to layers that they run as one. */
import { show } from '../formats/paths.js';
import { fusedLayers } from '../plans/fused.js';

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
