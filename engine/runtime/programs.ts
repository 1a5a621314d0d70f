/** Compiled graphs, so that parts that are alike and batches of one size share a session. */
import type { Graph } from '../graph/ir.js';
import { graphHash } from './graph-hash.js';
import { disposeRemembered, remembered } from './remembered.js';
import type { CompileOptions, Program, Runtime } from './session.js';

export interface Programs {
  readonly runtime: Runtime;
  /**
   * The program of a graph, compiled unless an equal graph was with the same options. Building and hashing a graph takes
   * milliseconds: loops ask once, and keep the program.
   * @param name what messages call the program; it need not be unique, and that of the first equal graph stays
   */
  get(graph: Graph, name: string, options?: CompileOptions): Promise<Program>;
  /** Disposes of all programs. */
  release(): Promise<void>;
}

export function openPrograms(runtime: Runtime): Programs {
  const programs = new Map<string, Promise<Program>>();
  return {
    runtime,
    get: (graph, name, options = {}) => {
      const { keep = true, logSeverityLevel, profile } = options;
      const key = JSON.stringify([graphHash(graph), keep, logSeverityLevel, profile]);
      return remembered(programs, key, () => runtime.compile(graph, name, options));
    },
    release: () => disposeRemembered(programs),
  };
}
