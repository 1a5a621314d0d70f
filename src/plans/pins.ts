/** Layers that are pinned, of each plan: they outlive its editors and the window. Knows no editor. */

/** What keeps them, such as the state of a workspace. */
export interface Memory {
  get<T>(key: string): T | undefined;
  update(key: string, value: unknown): PromiseLike<void>;
}

export interface Pins {
  /** Names of the pinned layers. */
  of(plan: string): readonly string[];
  set(plan: string, layers: readonly string[]): PromiseLike<void>;
}

type Kept = readonly (readonly [plan: string, layers: readonly string[]])[];

const KEY = 'plans.pinned';
/** Of more plans, those that were pinned in last. */
const MOST = 100;

export function createPins(memory: Memory): Pins {
  const kept = (): Kept => memory.get<Kept>(KEY) ?? [];
  return {
    of: (plan) => kept().find(([name]) => name === plan)?.[1] ?? [],
    set: (plan, layers) => {
      const others = kept().filter(([name]) => name !== plan);
      const own: Kept = layers.length > 0 ? [[plan, layers]] : [];
      return memory.update(KEY, [...others, ...own].slice(-MOST));
    },
  };
}
