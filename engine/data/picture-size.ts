/** Sizes as preprocessor files write them, and what a picture of any size becomes by them. */
import { UserError } from '../errors.js';
import { expectInteger, expectNumberArray, expectObject } from '../formats/json.js';
import type { JsonObject } from '../formats/json.js';
import { show } from '../formats/paths.js';

/** Pixels. */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/** What a picture is resized to: both edges, or so that its aspect ratio is kept. */
export type Resize =
  | Size
  /** The shorter edge; where the longer one would exceed its own limit, that counts. */
  | { readonly shortestEdge: number; readonly longestEdge?: number }
  /** As large as fits into both. */
  | { readonly maxHeight: number; readonly maxWidth: number };

/** Pictures are resized to at most this many pixels. */
const MAX_RESIZED = 1 << 24;
const EDGE = { min: 1, max: 1 << 13 };

/** Throws UserError that begins with `what` for more pixels than a picture is ever resized to. */
export function requireSmall({ height, width }: Size, what: string): void {
  if (height * width > MAX_RESIZED)
    throw new UserError(
      `${what} of ${height}×${width} is above the ${MAX_RESIZED} pixels that are supported.`,
    );
}

/**
 * The size under `key` in any of the forms of Hugging Face: a number (both edges where `square`, else the shorter one),
 * `[height, width]`, or an object with one of its sets of keys. Throws UserError that begins with `where`.
 */
export function readSize(config: JsonObject, key: string, where: string, square: boolean): Resize {
  const value = config[key];
  if (typeof value === 'number') {
    const edge = expectInteger(config, key, where, EDGE);
    return square ? { height: edge, width: edge } : { shortestEdge: edge };
  }
  if (Array.isArray(value)) {
    const [height, width] = expectNumberArray(config, key, where, { ...EDGE, integer: true, length: 2 });
    return { height: height!, width: width! };
  }
  const inside = `${where}: "${key}"`;
  const size = expectObject(value, inside);
  const names = Object.keys(size).filter((name) => size[name] !== null);
  const has = (...wanted: readonly string[]) =>
    names.length === wanted.length && wanted.every((name) => names.includes(name));
  const edge = (name: string) => expectInteger(size, name, inside, EDGE);
  if (has('height', 'width')) return { height: edge('height'), width: edge('width') };
  if (has('shortest_edge')) return { shortestEdge: edge('shortest_edge') };
  if (has('shortest_edge', 'longest_edge'))
    return { shortestEdge: edge('shortest_edge'), longestEdge: edge('longest_edge') };
  if (has('max_height', 'max_width')) return { maxHeight: edge('max_height'), maxWidth: edge('max_width') };
  throw new UserError(
    `${inside} must be an integer, {"height", "width"}, {"shortest_edge"}, {"shortest_edge", "longest_edge"} or {"max_height", "max_width"}, found ${show(value)}.`,
  );
}

/** What a picture is resized to. Throws UserError for a picture too long and narrow for it. */
export function resizedSize(image: Size, resize: Resize): Size {
  const size = fitted(image, resize);
  if (size.height < 1 || size.width < 1 || size.height * size.width > MAX_RESIZED)
    throw new UserError(`the picture is too long and narrow to resize: ${image.height}×${image.width}.`);
  return size;
}

function fitted(image: Size, resize: Resize): Size {
  if ('height' in resize) return resize;
  if ('maxHeight' in resize) return fitInto(image, resize);
  const { shortestEdge, longestEdge } = resize;
  return longestEdge === undefined
    ? fitShortest(image, shortestEdge)
    : fitBoth(image, shortestEdge, longestEdge);
}

const fitShortest = ({ height, width }: Size, edge: number): Size =>
  width <= height
    ? { height: Math.trunc((edge * height) / width), width: edge }
    : { height: edge, width: Math.trunc((edge * width) / height) };

/** As `get_size_with_aspect_ratio` of transformers. */
function fitBoth(image: Size, shortest: number, longest: number): Size {
  const { height, width } = image;
  const [short, long] = [Math.min(height, width), Math.max(height, width)];
  const isTooLong = (long / short) * shortest > longest;
  const exact = isTooLong ? (longest * short) / long : shortest;
  const edge = isTooLong ? roundHalfToEven(exact) : shortest;
  if (short === edge) return image;
  return width < height
    ? { height: Math.trunc((exact * height) / width), width: edge }
    : { height: edge, width: Math.trunc((exact * width) / height) };
}

/** As `get_image_size_for_max_height_width` of transformers. */
function fitInto(
  { height, width }: Size,
  { maxHeight, maxWidth }: { readonly maxHeight: number; readonly maxWidth: number },
): Size {
  const scale = Math.min(maxHeight / height, maxWidth / width);
  return { height: Math.trunc(height * scale), width: Math.trunc(width * scale) };
}

/** As Python rounds. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
