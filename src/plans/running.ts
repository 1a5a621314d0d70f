/** The models that run for the plans in editors: one for each plan, however many editors show it. Knows no editor. */
import { basename } from 'node:path';
import type { DeviceChoice, SupportedModel } from '../../engine/protocol/protocol.js';
import type { Connection } from '../common/connection.js';
import { createEmitter, type Disposable, type Event } from '../common/event.js';
import { createLive, type LiveModel } from './live.js';
import type { Measurement } from '../../webview/precision/protocol.js';
import type { OpenPlan } from './plans.js';

/** A measurement on so many samples ends within moments; a whole evaluation set belongs to an evaluation. */
const LIMITS: Readonly<Record<string, number>> = { 'image-classification': 1000, 'text-generation': 16 };
const LEAST_LIMIT = 16;

export interface RunningSurroundings {
  readonly connection: Connection;
  readonly device: () => DeviceChoice;
  readonly trusted: () => boolean;
  /** Fires when the engine stops, and its sessions with it. */
  readonly engineStopped: Event<unknown>;
  /** Path of the evaluation set that was used last for such models. */
  readonly lastData: (task: Task) => string | undefined;
}

export interface RunningModels {
  /** The model of this plan is another one now, or none. */
  readonly onDidReplace: Event<string>;
  /** An editor shows a plan. The plan's model ends when no editor does any more. */
  hold(plan: string): Disposable;
  /** The model of a plan, as it was named last. */
  of(plan: string): LiveModel | undefined;
  /** The model that a plan names now. Undefined where no editor shows the plan, or the model cannot run. */
  update(plan: string, named: Pick<OpenPlan, 'paths' | 'table'>): LiveModel | undefined;
}

type Task = SupportedModel['task'];

/** What is to run for a plan. */
interface Wanted {
  readonly model: string;
  readonly adapters: string;
  readonly task: Task;
}

interface Entry {
  editors: number;
  live: LiveModel | undefined;
  /** What `live` runs. */
  wanted: Wanted | undefined;
}

export function createRunningModels(surroundings: RunningSurroundings): RunningModels {
  const { connection, device, trusted, lastData } = surroundings;
  const replaced = createEmitter<string>();
  const entries = new Map<string, Entry>();
  /** What was measured of models, by plan and model: it outlives the editors. */
  const histories = new Map<string, readonly Measurement[]>();
  surroundings.engineStopped(() => entries.forEach(({ live }) => live?.lost()));

  function open(plan: string, { model, adapters, task }: Wanted): LiveModel {
    const history = JSON.stringify([plan, model, adapters]);
    const limit = LIMITS[task] ?? LEAST_LIMIT;
    const measured = histories.get(history) ?? [];
    const live = createLive(connection, { model, adapters, device, limit, measured });
    live.onDidChange((now) => histories.set(history, now.measured));
    const data = lastData(task);
    if (data !== undefined) live.setData(data, basename(data));
    return live;
  }

  function release(plan: string, entry: Entry): void {
    entry.editors -= 1;
    if (entry.editors > 0) return;
    entry.live?.dispose();
    entries.delete(plan);
  }

  return {
    onDidReplace: replaced.event,
    hold: (plan) => {
      const entry = entries.get(plan) ?? { editors: 0, live: undefined, wanted: undefined };
      entries.set(plan, entry);
      entry.editors += 1;
      return { dispose: () => release(plan, entry) };
    },
    of: (plan) => entries.get(plan)?.live,
    update: (plan, named) => {
      const entry = entries.get(plan);
      if (!entry) return undefined;
      const wanted = trusted() ? wantedOf(named) : undefined;
      if (JSON.stringify(wanted) === JSON.stringify(entry.wanted)) return entry.live;
      entry.live?.dispose();
      entry.live = wanted && open(plan, wanted);
      entry.wanted = wanted;
      replaced.fire(plan);
      return entry.live;
    },
  };
}

function wantedOf({ paths, table }: Pick<OpenPlan, 'paths' | 'table'>): Wanted | undefined {
  const { model, adapters } = paths;
  if (!table || model === undefined || adapters === undefined) return undefined;
  return { model, adapters, task: table.model.task };
}
