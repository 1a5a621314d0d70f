/** What an evaluation may be made of: adapter sets, bit-widths, methods to compare with, data. */
import { basename } from 'node:path';
import type { CalibrateJob, MethodReport, Mode, SupportedModel } from '../../engine/protocol/protocol.js';
import type { BaselineChoice, PlanChoice, SetChoice, Setup } from '../../webview/evaluation/protocol.js';
import { offeredBits, type AdapterList, type AdapterSetEntry } from '../adapters/adapter-list.js';
import type { Connection } from '../common/connection.js';
import type { PlanFile } from '../plans/plan-files.js';
import type { SavedPage, Surroundings } from './surroundings.js';

/** @param idOf the name that the page has for a set's folder or a plan's file */
export async function setupOf(
  {
    connection,
    adapters,
    plans: allPlans,
    words,
  }: Pick<Surroundings, 'connection' | 'adapters' | 'plans' | 'words'>,
  model: SupportedModel,
  saved: SavedPage,
  methods: readonly MethodReport[],
  idOf: (path: string) => string,
): Promise<Setup> {
  const entries = setsOf(await adapters.all(), saved.model);
  const baselineData = await findBaselineData(connection, saved);
  const sets = entries.map(({ set }) => ({
    id: idOf(set.path),
    name: set.name,
    chosen: saved.sets.includes(set.path),
    ...availabilityOf(set, words.changed),
  }));
  const chosen = sets.filter((set) => set.chosen && !set.problem);
  const own = new Set(entries.map(({ set }) => set.path));
  // A plan that names its set alone is for the model that has the set.
  const isOwn = ({ paths: { model, adapters } }: PlanFile) =>
    model === undefined ? adapters !== undefined && own.has(adapters) : model === saved.model;
  const plans = (await allPlans()).filter(isOwn).map(({ path, name, paths: { adapters } }): PlanChoice => ({
    id: idOf(path),
    name,
    chosen: saved.plans?.includes(path) ?? false,
    ...(adapters !== undefined && { set: idOf(adapters) }),
  }));
  return {
    sets,
    bits: saved.bits ?? [...new Set(chosen.flatMap((set) => set.bits))].sort((a, b) => b - a),
    plans,
    hasLength: model.task === 'text-generation',
    baselines: baselinesOf(model, methods, entries, saved.baselines),
    ...(baselineData !== undefined && { baselineData: { name: basename(baselineData) } }),
    ...(saved.data !== undefined && { data: { name: basename(saved.data) } }),
    ...(saved.limit !== undefined && { limit: saved.limit }),
    ...(saved.length !== undefined && { length: saved.length }),
  };
}

const setsOf = (groups: Awaited<ReturnType<AdapterList['all']>>, model: string): readonly AdapterSetEntry[] =>
  groups.find((group) => group.model?.path === model)?.sets ?? [];

function availabilityOf(set: AdapterSetEntry['set'], changed: string): Pick<SetChoice, 'bits' | 'problem'> {
  if (!set.readable) return { bits: [], problem: set.reason };
  return { bits: offeredBits(set), ...(!set.matches && { problem: changed }) };
}

/** The methods to compare with: those that quantize what sets of the model do. */
function baselinesOf(
  { task }: SupportedModel,
  methods: readonly MethodReport[],
  entries: readonly AdapterSetEntry[],
  chosen: readonly string[],
): BaselineChoice[] {
  const found = new Set(entries.flatMap(({ set }): Mode[] => (set.readable ? [set.facts.mode] : [])));
  return methods
    .filter(
      ({ baseline, modes }) => baseline && (found.size === 0 || modes.some(({ mode }) => found.has(mode))),
    )
    .map(({ name, title, description, modes }) => ({
      name,
      title,
      hint: description,
      chosen: chosen.includes(name),
      // Pictures to calibrate on are the first of the evaluation set.
      needsData: task === 'text-generation' && modes.some(({ samples }) => samples > 0),
    }));
}

/** What was chosen, or else what one of the chosen sets was calibrated on, as long as its job is known. */
export async function findBaselineData(
  connection: Connection,
  { baselineData, sets }: Pick<SavedPage, 'baselineData' | 'sets'>,
): Promise<string | undefined> {
  if (baselineData !== undefined) return baselineData;
  const { jobs } = await connection.request('jobs/list', {});
  const made = jobs.filter(
    (job): job is CalibrateJob => job.kind === 'calibrate' && sets.includes(job.request.out),
  );
  return made.findLast((job) => job.request.data !== undefined)?.request.data;
}
