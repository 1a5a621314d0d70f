/** The elastic file: a model with all bit-widths of its set in one safetensors, which stands in the place of both (docs/FORMATS.md). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ELASTIC } from '../../elastic/layout.js';
import { writeFolderAtomic } from '../../formats/atomic.js';
import { ELASTIC_KEY, ELASTIC_VERSION, elasticWeights } from '../../formats/elastic.js';
import { fingerprintModel } from '../../formats/fingerprint.js';
import { openSafetensors, writeSafetensors } from '../../formats/safetensors.js';
import { safetensorsBytes } from '../../formats/safetensors-write.js';
import { CONFIG_FILE, TENSORS_FILE } from '../../formats/set.js';
import type { SetConfig } from '../../formats/set-config.js';
import type { WeightForm } from '../../quantized/form.js';
import type { ExportContext, Exporter } from '../exporter.js';
import { isPlain, zerosOf } from '../grids.js';
import { modelFiles, writeInto } from '../model-files.js';
import { withProgress } from '../parameters.js';
import { serveElastic } from '../serve.js';
import { heldBits } from './held.js';
import { elasticPlan, type ElasticPlan, type Rounding } from './plan.js';
import { openSpool } from './spool.js';
import { elementsOf, layoutsOf } from './tensors.js';

export const elasticFile = elasticExporter('where smaller');

/** @param rounding when codes are rounded anew as the file is opened */
export function elasticExporter(rounding: Rounding): Exporter {
  return {
    name: ELASTIC,
    words: {
      title: 'Elastic File',
      description: 'a folder with the model and all bit-widths of the set, opened here in place of both',
    },
    holdsAllBits: true,
    refuse,
    held: async (context) => heldBits(context, await elasticPlan(context, rounding)),
    serve: serveElastic,
    size: async (context) => {
      const plan = await elasticPlan(context, rounding);
      const files = await modelFiles(context.original.folder);
      const others = files.reduce((sum, { bytes }) => sum + bytes, 0);
      return {
        bytes: elasticBytes(context, plan) + others + manifest(plan.set, ZEROS, ZEROS).length,
        isExact: true,
      };
    },
    write: (context, out) => writeFolderAtomic(out, (folder) => write(context, folder, rounding)),
  };
}

/** As many digits as of any SHA-256. */
const ZEROS = '0'.repeat(64);
const METADATA = { format: 'pt', [ELASTIC_KEY]: ELASTIC_VERSION };

function refuse({ original, source, config }: ExportContext): string | undefined {
  if (config.method.name === ELASTIC) return 'The set is an elastic file already.';
  if (source.cache !== undefined)
    return 'The adapter set quantizes keys and values, which an elastic file cannot say; calibrate without --kv-bits.';
  if (source.checkpoint.model !== original.model) {
    const names = config.transforms.map((transform) => transform.name).join(', ');
    return `The adapter set changes what the model computes, not its weights alone (${names}), which an elastic file cannot say.`;
  }
  const average = source.offered.find((bits) => !Number.isInteger(bits));
  if (average !== undefined)
    return `The adapter set offers ${average} bits on average; an elastic file has whole bit-widths alone.`;
  if (
    Object.keys(config.layers).some((layer) => source.offered.includes(8) && hasHalves(source.form(layer, 8)))
  )
    return 'The adapter set has half zero points at 8 bits; an elastic file has them below 8 alone.';
  for (const layer of Object.keys(config.layers))
    for (const bits of source.offered) {
      const form = source.form(layer, bits);
      const isHeld = isPlain(form) && !form.ordered && !form.level && !form.apart && zerosOf(form) !== 'any';
      if (!isHeld)
        return `The adapter set keeps ${bits}-bit weights otherwise than as codes with a scale and a zero point for each group of columns (outliers, orders, signs), which an elastic file has no place for.`;
    }
  return undefined;
}

const hasHalves = (form: WeightForm): boolean => form.kind === 'grid' && zerosOf(form) === 'half';

/** Bytes of the safetensors. */
export const elasticBytes = (context: Pick<ExportContext, 'original'>, plan: ElasticPlan): number =>
  safetensorsBytes(layoutsOf(context, plan), METADATA);

async function write(context: ExportContext, folder: string, rounding: Rounding): Promise<void> {
  const plan = await elasticPlan(context, rounding);
  for (const file of await modelFiles(context.original.folder))
    await writeInto(folder, file.name, await file.read());
  const path = join(folder, TENSORS_FILE);
  const spool = await openSpool(join(folder, 'spool'));
  try {
    const elements = elementsOf(context, plan, spool);
    const entries = layoutsOf(context, plan).map((layout) => ({
      ...layout,
      data: () => elements(layout.name),
    }));
    const { sha256 } = await writeSafetensors(path, withProgress(entries, context), METADATA);
    await writeInto(folder, CONFIG_FILE, manifest(plan.set, await fingerprintOf(folder), sha256));
  } finally {
    await spool.close();
  }
}

/** As of a model. */
async function fingerprintOf(folder: string): Promise<string> {
  const written = await openSafetensors(join(folder, TENSORS_FILE));
  try {
    const config = await readFile(join(folder, 'config.json'), 'utf8');
    return await fingerprintModel(elasticWeights(written, TENSORS_FILE), config);
  } finally {
    await written.close();
  }
}

function manifest({ model, ...set }: SetConfig, standalone: string, digest: string): Uint8Array {
  const { schema_version, engine_version, mode, ...others } = set;
  const whole = {
    schema_version,
    engine_version,
    mode,
    model,
    standalone,
    ...others,
    tensors_sha256: digest,
  };
  return new TextEncoder().encode(`${JSON.stringify(whole, null, 2)}\n`);
}
