/** How an export format holds the layers of a set: exactly, or how far off. */
import type { LinearEntry } from '../models/listing.js';
import { partsOf, type Part } from '../models/model.js';
import { toFloats } from '../quantized/weight.js';
import { distanceOf } from './distance.js';
import type { ExportContext, Exporter, Held, Holder } from './exporter.js';
import { exportedBits, exportedForm, exportedWeight } from './layer-weight.js';
import { partReader } from './parameters.js';

interface HeldLayer {
  readonly part: Part;
  readonly layer: LinearEntry;
  readonly holder: Holder;
}

/**
 * What a format makes of the quantized layers of an export that it does not refuse; undefined where bits do not decide it.
 * Reads one layer of each kind that is not held exactly, and no others.
 */
export async function heldBy(
  context: ExportContext,
  exporter: Exporter,
): Promise<readonly Held[] | undefined> {
  if (exporter.held) return exporter.held(context);
  if (!exporter.holderOf) return undefined;
  const kinds = new Map<string, HeldLayer[]>();
  for (const each of layersOf(context)) {
    const held = { ...each, holder: exporter.holderOf(context, each.part, each.layer) };
    const { groupSize } = exportedForm(context, each.part, each.layer);
    const kind = [held.holder.container, exportedBits(context, each.part, each.layer), groupSize].join(' ');
    kinds.set(kind, [...(kinds.get(kind) ?? []), held]);
  }
  const parametersOf = partReader(context);
  const held: Held[] = [];
  for (const layers of kinds.values()) {
    const [{ part, layer, holder }] = layers as [HeldLayer];
    const bits = exportedBits(context, part, layer)!;
    const distance = holder.isExact ? undefined : await distanceFrom(part, layer, holder);
    const { container } = holder;
    held.push({ container, bits, layers: layers.length, ...(distance !== undefined && { distance }) });
  }
  return held;

  async function distanceFrom(part: Part, layer: LinearEntry, holder: Holder): Promise<number> {
    const parameters = await parametersOf(part);
    const weight = (await exportedWeight(context, part, layer, parameters))!;
    return distanceOf(holder.stored(weight), toFloats(weight), parameters.get(`${layer.name}.weight`)!.data);
  }
}

/** Those that are exported at some bits, in the model's order. */
const layersOf = (context: ExportContext) =>
  partsOf(context.source.checkpoint.model).flatMap((part) =>
    context.source.checkpoint
      .listing(part)
      .linears.flatMap((layer) =>
        exportedBits(context, part, layer) === undefined ? [] : [{ part, layer }],
      ),
  );
