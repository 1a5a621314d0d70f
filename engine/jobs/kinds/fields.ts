/** Readers that requests and results of several kinds share. */
import {
  integer,
  list,
  number,
  oneOf,
  optional,
  record,
  text,
  type Fields,
} from '../../formats/json-fields.js';
import { MAX_BITS, MIN_BITS } from '../../plans/bits.js';
import type { Placement, Skipped, SkippedSamples } from '../../protocol/protocol.js';

export const placement: Fields<Placement> = {
  device: optional(oneOf('auto', 'cpu', 'webgpu', 'cuda')),
  threads: optional(integer(1, 1024)),
};

/** Which of them a method or a set has is its own to say. */
export const bits = number(MIN_BITS, MAX_BITS);
export const device = oneOf('cpu', 'webgpu', 'cuda');
export const skippedSamples: Fields<SkippedSamples> = {
  skipped: list(record<Skipped>({ name: text(), reason: text() })),
  skippedCount: optional(integer(0)),
};
