/** What a calibration is at, told to tools that measure it (`scripts/bench-calibration.ts`); costs nothing where none listens. */
import { channel } from 'node:diagnostics_channel';

export type Phase =
  | 'forward'
  | 'moments'
  | 'factors'
  | 'targets'
  | 'search'
  | 'feedback'
  | 'descent'
  | 'refit'
  | 'training'
  | 'storing';

export interface PhaseEvent {
  /** Undefined where a phase ends. */
  readonly phase: Phase | undefined;
  /** Of the phase that ends: operations of products that were loops on the host. */
  readonly flops: number;
}

export const PHASES = channel('elastic-precision.phases');

/** Phases do not overlap, and have no others inside. @param flops of products that are loops on the host, 2 for each term */
export async function inPhase<T>(phase: Phase, work: () => T | Promise<T>, flops = 0): Promise<T> {
  if (!PHASES.hasSubscribers) return work();
  const tell = (event: PhaseEvent) => PHASES.publish(event);
  tell({ phase, flops: 0 });
  try {
    return await work();
  } finally {
    tell({ phase: undefined, flops });
  }
}
