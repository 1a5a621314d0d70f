/**
 * A checkpoint turned so that no channel stands out, and computing the same (QuaRot, Ashkboos et al. 2024, sections 3 and 4):
 *
 *   the stream           x·R, R a Hadamard matrix with random signs; gains of norms move into the layers that read them
 *   values               turned head by head, and back by the layer that reads their mixture
 *   the gated product    turned as it is computed, and back by the layer that reads it
 *   queries and keys     turned head by head after their positions, where asked; their products stay the same
 *
 * Weights are turned as they are read, one at a time, on the device. Nothing is written.
 */
import { UserError } from '../../errors.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { listPart, type PartListing } from '../../models/listing.js';
import { partsOf, streamFeatures, type Builder, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { hadamardFactors } from './hadamard.js';
import { rotate } from './rotate.js';
import { turnParameters } from './weights.js';

export interface RotationOptions {
  /** Of the stream's rotation, [features], ±1. */
  readonly signs: Float32Array;
  /** Whether queries and keys are turned: of use where keys are quantized. */
  readonly keys: boolean;
}

/** Throws UserError for a family that does not say what to turn, and for a size without a Hadamard matrix. */
export function rotateCheckpoint(
  programs: Programs,
  checkpoint: Checkpoint,
  options: RotationOptions,
): Checkpoint {
  const { originalOf, ...turned } = rotateModel(checkpoint, options);
  return {
    ...checkpoint,
    ...turned,
    read: async (part) => {
      const original = originalOf(part);
      const parameters = await checkpoint.read(original);
      return turnParameters(
        programs,
        original.roles!,
        checkpoint.listing(original),
        parameters,
        options.signs,
      );
    },
  };
}

/** The model of a rotated checkpoint, without its weights. Throws as `rotateCheckpoint` does. */
export function rotateModel(
  checkpoint: Pick<Checkpoint, 'name' | 'model' | 'listing'>,
  options: Pick<RotationOptions, 'keys'>,
): Pick<Checkpoint, 'model' | 'listing'> & { readonly originalOf: (part: Part) => Part } {
  const { model } = checkpoint;
  if (model.towers)
    throw new UserError(
      `${checkpoint.name}: models with towers, such as those of the family "${model.family}", cannot be rotated.`,
    );
  for (const part of partsOf(model)) requireRotatable(checkpoint, part);
  const originals = new Map<Part, Part>();
  const listings = new Map<string, PartListing>();
  const turn = (part: Part): Part => {
    const turned = turnedPart(part, options);
    originals.set(turned, part);
    if (!listings.has(turned.kind)) listings.set(turned.kind, ownListing(turned));
    return turned;
  };
  return {
    model: { ...model, stem: turn(model.stem), blocks: model.blocks.map(turn), head: turn(model.head) },
    listing: (part) => listings.get(part.kind)!,
    originalOf: (part) => originals.get(part)!,
  };
}

/** The part with what has to be turned as it is computed. */
function turnedPart(part: Part, { keys }: Pick<RotationOptions, 'keys'>): Part {
  const { attention, gated, gatedFactor: _factor, ...roles } = part.roles!;
  const scored = keys && attention ? [attention.queries, attention.keys] : [];
  return {
    ...part,
    kind: `rotated${keys ? ' with keys' : ''} ${part.kind}`,
    // What turns the gated product stands between its factor and its reader: scales of channels do not pass it.
    roles: { ...roles, ...(attention && { attention }), ...(gated !== undefined && { gated }) },
    forward: (builder, x, batch, side) => {
      const turning: Builder = {
        ...builder,
        linear: (name, input, out, options) =>
          builder.linear(name, name === gated ? rotate(input, 1, input.shape[1]!) : input, out, options),
        operand: (name, input) =>
          builder.operand(name, scored.includes(name) ? rotate(input, 1, attention!.size) : input),
      };
      return part.forward(turning, x, batch, side);
    },
  };
}

/** A turned tensor is no part's but its own, even where the checkpoint stores it once for two. */
function ownListing(part: Part): PartListing {
  const listing = listPart(part);
  const parameters = listing.parameters.map(({ storedName: _shared, ...entry }) => entry);
  return { ...listing, parameters };
}

function requireRotatable(checkpoint: Pick<Checkpoint, 'name' | 'model' | 'listing'>, part: Part): void {
  const { model, name } = checkpoint;
  const { roles } = part;
  if (!roles) throw new UserError(`${name}: models of the family "${model.family}" cannot be rotated.`);
  const require = (size: number, what: string) => {
    if (!hadamardFactors(size))
      throw new UserError(
        `${name}: ${what} has ${size} channels, and no Hadamard matrix of that size is known here; calibrate with --rotation off, or weights alone (--mode weight-only).`,
      );
  };
  require(streamFeatures(model), 'the stream between blocks');
  if (roles.attention)
    require(roles.attention
      .size, `a head of ${part.prefix}${roles.attention.valueLayer ?? roles.attention.outputLayer}`);
  const shared = checkpoint.listing(part).norms.find((n) => roles.norms.includes(n.name) && !n.foldable);
  if (shared)
    throw new UserError(
      `${name}: models of the family "${model.family}" cannot be rotated: what ${part.prefix}${shared.name} yields is read by more than linear layers.`,
    );
  const gated = checkpoint.listing(part).linears.find((l) => l.name === roles.gated);
  if (gated) require(gated.in, `the input of ${part.prefix}${gated.name}`);
}
