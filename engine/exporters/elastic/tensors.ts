/** The tensors of an elastic file: what they are, and their elements. */
import { baseTensors, elasticTensors, ownerOf } from '../../elastic/tensors.js';
import { UserError } from '../../errors.js';
import { roundedCodes } from '../../execution/rounded.js';
import { show } from '../../formats/paths.js';
import { isKnownDtype, type SafetensorsData, type SafetensorsDType } from '../../formats/safetensors.js';
import type { SafetensorsLayout } from '../../formats/safetensors-write.js';
import type { SetConfig } from '../../formats/set-config.js';
import { blocksOf } from '../../models/model.js';
import type { ExportContext } from '../exporter.js';
import { exportedBits } from '../layer-weight.js';
import { linearOf, ownersOf, partReader, type Owner } from '../parameters.js';
import { elasticLayer } from './layer.js';
import type { ElasticPlan } from './plan.js';
import type { Spool } from './spool.js';

/** Known without an element. */
export function layoutsOf(
  { original }: Pick<ExportContext, 'original'>,
  { set, own }: ElasticPlan,
): SafetensorsLayout[] {
  const dtypeOf = (name: string): SafetensorsDType => {
    // Norms and biases may be what a transform made of them, which their own dtype need not hold.
    if (own.parameters[name]!.length === 1) return 'F32';
    const { dtype } = original.source.tensors.get(name)!;
    return isKnownDtype(dtype) ? dtype : 'F32';
  };
  const tensors = [...elasticTensors(own, set)].map(([name, { shape, dtype = 'F32' }]) => ({
    name,
    shape,
    dtype: Object.hasOwn(own.parameters, name) ? dtypeOf(name) : dtype,
  }));
  const grids = [...gridsOf(set, own).keys()].map((name) => ({ name, dtype: 'F32' as const, shape: [1] }));
  return [...tensors, ...grids];
}

interface ActivationTensor {
  readonly owner: string;
  readonly bits: number;
  readonly what: 'scale' | 'zero';
}

/** The tensors of activations' grids, by their names. */
function gridsOf(
  { layers, offered }: SetConfig,
  { activations, products = [] }: ElasticPlan['own'],
): ReadonlyMap<string, ActivationTensor> {
  const found = new Map<string, ActivationTensor>();
  if (activations !== 'static') return found;
  for (const owner of new Set([...Object.values(layers).map(({ input }) => input), ...products]))
    for (const bits of offered)
      for (const what of ['scale', 'zero'] as const)
        found.set(`${owner}.act_${what}.${bits}`, { owner, bits, what });
  return found;
}

/** Reads or makes the elements of a tensor. Those of a layer are made together, and the others of them wait in `spool`. */
export function elementsOf(
  context: ExportContext,
  plan: ElasticPlan,
  spool: Spool,
): (name: string) => Promise<SafetensorsData> {
  const { source, programs } = context;
  const { model, listing } = source.checkpoint;
  const parametersOf = partReader(context);
  const owners = ownersOf(context);
  const grids = gridsOf(plan.set, plan.own);
  const linears = new Map(
    blocksOf(model).flatMap((part) =>
      listing(part).linears.map((layer) => [part.prefix + layer.name, { part, layer }] as const),
    ),
  );
  const tables = new Map<string, string>(
    Object.keys(plan.own.tables).flatMap((name) =>
      baseTensors([1]).map(([what]) => [`${ownerOf(name)}.${what}`, name] as const),
    ),
  );

  return async (name) => {
    const grid = grids.get(name);
    if (grid) return gridElement(grid);
    if (Object.hasOwn(plan.own.parameters, name)) return parameter(name);
    const table = tables.get(name);
    if (!spool.has(name)) await (table === undefined ? spoolLayer(layerOf(name)) : spoolTable(table));
    return spool.take(name);
  };

  async function gridElement({ owner, bits, what }: ActivationTensor): Promise<Float32Array> {
    const form = await source.activation(owner, bits);
    if (typeof form === 'object') return Float32Array.of(form[what]);
    throw new UserError(`The adapter set says nothing of how ${show(owner)} is quantized at ${bits} bits.`);
  }

  async function parameter(name: string): Promise<SafetensorsData> {
    const [{ part, entry }] = owners.get(name) as [Owner];
    const { data } = (await parametersOf(part)).get(entry.name)!;
    const isDouble = context.original.source.tensors.get(name)!.dtype === 'F64';
    return isDouble && plan.own.parameters[name]!.length > 1 ? Float64Array.from(data) : data;
  }

  async function spoolTable(name: string): Promise<void> {
    const [owner] = owners.get(name) as [Owner];
    const layer = linearOf(context, owner)!;
    const bits = exportedBits(context, owner.part, layer)!;
    const { data } = (await parametersOf(owner.part)).get(owner.entry.name)!;
    const { codes, scale, zero } = await roundedCodes(programs, layer, data, bits, -1);
    const base = `${ownerOf(name)}.base`;
    await spool.put(`${base}.codes`, codes);
    await spool.put(`${base}.scale`, scale);
    await spool.put(`${base}.zero`, Uint8Array.from(zero));
  }

  async function spoolLayer(name: string): Promise<void> {
    const { part, layer } = linears.get(name)!;
    const weight = (await parametersOf(part)).get(`${layer.name}.weight`)!.data;
    const { tensors } = await elasticLayer(context, plan, name, layer, weight);
    for (const [what, data] of tensors) await spool.put(`${name}.${what}`, data);
  }

  /** The layer with the longest name that a tensor's begins with. */
  function layerOf(name: string): string {
    for (let end = name.length; end > 0; end = name.lastIndexOf('.', end - 1))
      if (linears.has(name.slice(0, end))) return name.slice(0, end);
    throw new Error(`Tensor ${name} is of no layer.`);
  }
}
