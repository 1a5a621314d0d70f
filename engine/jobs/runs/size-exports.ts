/** What plans of one set would take in an export format, without any being written. */
import { UserError } from '../../errors.js';
import { layerNames } from '../../execution/model.js';
import type { ExportContext, Exporter } from '../../exporters/exporter.js';
import { exporterNamed } from '../../exporters/registry.js';
import { openSource } from '../../methods/sets.js';
import { withDevice } from '../../runtime/with-device.js';
import type { PlanSize, SizeExportsRequest } from '../requests.js';
import { withSet } from './export.js';

/** Reads no weights. Throws UserError for a format whose size follows from no plan. */
export async function sizeExports(request: SizeExportsRequest): Promise<readonly PlanSize[]> {
  const exporter = exporterNamed(request.format);
  if (exporter.holdsAllBits)
    throw new UserError(`${exporter.words.title} holds all bit-widths of a set, whatever a plan says.`);
  return withSet(request, (original, set) =>
    withDevice({ device: 'cpu', threads: 1 }, async (programs) => {
      const layers = layerNames(original);
      const source = openSource(programs, original, set);
      const hooks = { signal: new AbortController().signal, status: () => undefined, fit: () => undefined };
      const sizes: PlanSize[] = [];
      for (const plan of request.plans) {
        const bits = new Map(layers.map((name, i) => [name, plan[i]!]));
        const bitsOf = (layer: string) => bits.get(layer)!;
        sizes.push(await sizeOf(exporter, { programs, original, source, config: set.config, bitsOf, hooks }));
      }
      return sizes;
    }),
  );
}

async function sizeOf(exporter: Exporter, context: ExportContext): Promise<PlanSize> {
  const refusal = exporter.refuse(context);
  if (refusal !== undefined) return { refusal };
  try {
    return { bytes: (await exporter.size(context)).bytes };
  } catch (error) {
    if (error instanceof UserError) return { refusal: error.message };
    throw error;
  }
}
