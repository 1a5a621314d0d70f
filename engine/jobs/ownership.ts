/**
 * Which engine may write a job's record, where several share a folder: a claim of `<job>.owner` (`locks/claims.ts`). Owners
 * let go of a job that has ended.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { aliveHere, claim, readClaim, releaseClaim, type Alive, type Owner } from '../locks/claims.js';

export type OwnedBy = 'this' | 'another' | 'none';

export interface Ownership {
  of(job: string): Promise<OwnedBy>;
  /** Takes a job that no live engine owns. False where one does, or takes it first. */
  claim(job: string): Promise<boolean>;
  release(job: string): Promise<void>;
}

/** An engine on another machine cannot be asked; it counts as live while its job's record was written or touched so lately. */
export const FOREIGN_MILLISECONDS = 10 * 60 * 1000;

/** @param recordOf the path of a job's record */
export function openOwnership(
  folder: string,
  engine: Owner,
  recordOf: (job: string) => string,
  aliveOnThis: Alive = aliveHere,
): Ownership {
  const pathOf = (job: string) => join(folder, `${job}.owner`);

  const aliveFor =
    (job: string): Alive =>
    async (owner) => {
      if (owner.id === engine.id) return true;
      if (owner.host === engine.host) return aliveOnThis(owner);
      const record = await stat(recordOf(job)).catch(() => undefined);
      return Date.now() - (record?.mtimeMs ?? 0) < FOREIGN_MILLISECONDS;
    };

  return {
    of: async (job) => {
      const owner = await readClaim(pathOf(job), aliveFor(job));
      if (!owner) return 'none';
      return owner.id === engine.id ? 'this' : 'another';
    },
    claim: async (job) => (await claim(pathOf(job), engine, aliveFor(job))).id === engine.id,
    release: (job) => releaseClaim(pathOf(job), engine),
  };
}
