/**
 * Everything that travels between the engine and an editor: JSON-RPC 2.0 on stdio, framed by `Content-Length` headers
 * (docs/PROTOCOL.md), one file per subject. They hold types and constants alone and import nothing from other folders, so
 * that either side can import them, and so can every other folder of the engine.
 *
 * Method names are the keys of `Requests` and `Notifications`. Paths are absolute. Times are milliseconds since 1970
 * (UTC), durations seconds, sizes bytes, shares 0 to 1. Optional keys are left out, never null.
 */
export type * from './requests.js';
export * from './process.js';
export type * from './common.js';
export type * from './models.js';
export type * from './hub.js';
export type * from './sets.js';
export type * from './devices.js';
export type * from './jobs.js';
export type * from './calibration.js';
export * from './evaluations.js';
export type * from './sensitivity.js';
export type * from './precision.js';
export type * from './exports.js';
export type * from './sessions.js';
