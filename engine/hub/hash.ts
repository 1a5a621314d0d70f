/** Hashes by which a hub names its files: SHA-256 of large ones (Git LFS), git's SHA-1 of the others. */
import { createHash, type Hash as Hasher } from 'node:crypto';

export interface Hash {
  readonly kind: 'sha256' | 'git';
  readonly hex: string;
}

/** The hash, where it is of its kind's form. It becomes the name of a file. */
export const checkHash = ({ kind, hex }: Hash): Hash | undefined =>
  typeof hex === 'string' && (kind === 'sha256' ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hex)
    ? { kind, hex }
    : undefined;

export interface StartedHash {
  /** Takes the content in order. */
  readonly hasher: Hasher;
  /** Whether it was all of it. Ends the hash. */
  matches(this: void): boolean;
}

export function startHash({ bytes, hash }: { readonly bytes: number; readonly hash: Hash }): StartedHash {
  const hasher = createHash(hash.kind === 'sha256' ? 'sha256' : 'sha1');
  // As git hashes a blob.
  if (hash.kind === 'git') hasher.update(`blob ${bytes}\0`);
  return { hasher, matches: () => hasher.digest('hex') === hash.hex };
}
