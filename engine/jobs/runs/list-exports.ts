/** What every export format makes of a set, before any is written. */
import { UserError } from '../../errors.js';
import type { ExportContext, Exporter } from '../../exporters/exporter.js';
import { heldBy } from '../../exporters/holders.js';
import { exporters } from '../../exporters/registry.js';
import { openSource } from '../../methods/sets.js';
import type { ExportedSet, ExportFormat } from '../../protocol/protocol.js';
import { withDevice } from '../../runtime/with-device.js';
import { layerBits, withSet } from './export.js';

/** Of weights one of each kind that a format does not hold exactly is read. @param known the formats there are */
export function listExports(
  request: ExportedSet,
  known: readonly Exporter[] = exporters,
  signal = new AbortController().signal,
): Promise<readonly ExportFormat[]> {
  return withSet(request, async (original, set) => {
    const layers = await layerBits(request, original, set.config.offered);
    return withDevice({ device: 'cpu', threads: 1, signal }, (programs) => {
      const context: ExportContext = {
        programs,
        original,
        source: openSource(programs, original, set),
        config: set.config,
        bitsOf: (layer) => layers.get(layer)!,
        hooks: { signal, status: () => undefined, fit: () => undefined },
      };
      return Promise.all(known.map((exporter) => formatOf(exporter, context)));
    });
  });
}

async function formatOf(exporter: Exporter, context: ExportContext): Promise<ExportFormat> {
  const { name, words, ending } = exporter;
  const { title, description } = words;
  return { name, title, description, ...(ending !== undefined && { ending }), ...(await outcomeOf()) };

  async function outcomeOf(): Promise<Pick<ExportFormat, 'size' | 'held' | 'warning' | 'refusal'>> {
    const refusal = exporter.refuse(context);
    if (refusal !== undefined) return { refusal };
    try {
      const size = await exporter.size(context);
      const [held, warning] = [await heldBy(context, exporter), exporter.warn?.(context)];
      return { size, ...(held && { held }), ...(warning !== undefined && { warning }) };
    } catch (error) {
      if (error instanceof UserError) return { refusal: error.message };
      throw error;
    }
  }
}
