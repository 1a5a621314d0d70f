/** Compiled graphs by name, so that parts of one kind and batches of one size share a session. */
import type { Graph } from '../graph/ir.js';
import type { CompileOptions, Program, Runtime } from './session.js';

export interface Programs {
  readonly runtime: Runtime;
  /** The program called `name`, built and compiled when it is first asked for. The name must tell graphs apart. */
  get(name: string, build: () => Graph, options?: CompileOptions): Promise<Program>;
  /** Releases every program whose name starts with `prefix`. */
  release(prefix?: string): Promise<void>;
}

export function openPrograms(runtime: Runtime): Programs {
  const programs = new Map<string, Promise<Program>>();
  return {
    runtime,
    get: (name, build, options) => {
      const known = programs.get(name);
      if (known) return known;
      const program = runtime.compile(build(), name, options);
      programs.set(name, program);
      // One that failed to compile is not kept: whoever asked gets the error.
      program.catch(() => programs.delete(name));
      return program;
    },
    release: async (prefix = '') => {
      for (const [name, program] of programs)
        if (name.startsWith(prefix)) {
          programs.delete(name);
          await (await program).dispose();
        }
    },
  };
}
