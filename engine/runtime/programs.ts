/** Compiled graphs, so that parts that are alike and batches of one size share a session. */
import type { Graph } from '../graph/ir.js';
import { graphHash, keyOf } from './graph-hash.js';
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
  /**
   * The program of the graph that `build`, a function of a module, makes of its arguments, which alone decide it: the graph
   * is built once for each.
   */
  getBuilt<A extends readonly Plain[]>(
    build: (...parameters: A) => Graph,
    parameters: Readonly<NoInfer<A>>,
    name: string,
    options?: CompileOptions,
  ): Promise<Program>;
  /** Disposes of all programs. */
  release(): Promise<void>;
}

type Plain = number | string | boolean | undefined;

export function openPrograms(runtime: Runtime): Programs {
  const programs = new Map<string, Promise<Program>>();
  let built = new WeakMap<object, Map<string, Promise<Program>>>();
  const get: Programs['get'] = (graph, name, options = {}) =>
    remembered(programs, keyOf([graphHash(graph), plain(options)]), () =>
      runtime.compile(graph, name, options),
    );
  return {
    runtime,
    get,
    getBuilt: (build, parameters, name, options = {}) => {
      const known = built.get(build) ?? new Map<string, Promise<Program>>();
      built.set(build, known);
      return remembered(known, keyOf([parameters, plain(options)]), () =>
        get(build(...parameters), name, options),
      );
    },
    release: () => {
      built = new WeakMap();
      return disposeRemembered(programs);
    },
  };
}

const plain = ({ keep = true, logSeverityLevel, profile }: CompileOptions) => [
  keep,
  logSeverityLevel,
  profile,
];
