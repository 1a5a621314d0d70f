import manifest from '../package.json' with { type: 'json' };

/** The engine's version, which is the package's. */
export const version: string = manifest.version;
