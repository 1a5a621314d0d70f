/**
 * What the text of a precision plan says (docs/FORMATS.md): the bits of each layer, and everything that is wrong with
 * it, with its place. Changes to the text are in `edit.ts`.
 */
import { parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { MAX_BITS, MIN_BITS } from './bits.js';
import { canMatch, compileGlob, isGlob, MAX_GLOB_LENGTH } from './globs.js';
import { nearestName } from './nearest.js';

export interface PrecisionPlan {
  readonly $schema?: string;
  /** Folder of the model and of the adapter set, relative to the plan's. */
  readonly model?: string;
  readonly adapters?: string;
  /** Bits of a layer that nothing else in the plan names. */
  readonly default: number;
  /** Bits by layer name or glob. An exact name wins over any glob. */
  readonly layers: Readonly<Record<string, number>>;
}

/** A part of a text: characters from its beginning, UTF-16. */
export interface TextRange {
  readonly offset: number;
  readonly length: number;
}

export interface PlanProblem extends TextRange {
  /**
   * `syntax`: not JSON. `shape`: JSON that is not a plan. `layer`: a key that matches no layer. `bits`: a bit-width that is
   * not offered. `contradiction`: globs that give one layer different bits.
   */
  readonly kind: 'syntax' | 'shape' | 'layer' | 'bits' | 'contradiction';
  /** One line for people. */
  readonly message: string;
}

export interface PlanReading {
  /** Undefined where there is a problem. */
  readonly plan?: PrecisionPlan;
  readonly problems: readonly PlanProblem[];
  /** Where the keys of `layers` stand, and the value of `default`. */
  readonly places: { readonly layers: ReadonlyMap<string, TextRange>; readonly default?: TextRange };
}

/** Characters of a plan, far more than one of ten thousand layers has. */
const MAX_LENGTH = 1 << 21;
/** A plan has layers in an object, and others' keys may hold what they like. */
const MAX_DEPTH = 256;

/** Reads a plan. Comments, commas too many, keys twice, bits outside 1 to 8 and absolute paths are problems. */
export function parsePlan(text: string): PlanReading {
  if (text.length > MAX_LENGTH)
    return failed([problem('syntax', 'This is too long for a precision plan.', { offset: 0, length: 1 })]);
  const layers = new Map<string, TextRange>();
  const errors: ParseError[] = [];
  if (isDeep(text))
    return failed([problem('syntax', 'This is nested too deeply.', { offset: 0, length: text.length })]);
  const root = parseTree(text, errors, { disallowComments: true, allowTrailingComma: false });
  const [error] = errors;
  if (error) return failed([problem('syntax', `This is not JSON: ${syntaxText(error)}.`, error)]);
  if (root?.type !== 'object')
    return failed([problem('shape', 'A precision plan is a JSON object.', root ?? { offset: 0, length: 0 })]);

  const problems: PlanProblem[] = [];
  const top = membersOf(root, problems);
  const defaultNode = top.get('default')?.value;
  const layersNode = top.get('layers')?.value;
  if (!defaultNode)
    problems.push(problem('shape', '"default" is missing: the bits of all other layers.', opening(root)));
  else checkBits('default', defaultNode, problems);
  for (const key of TEXTS) {
    const node = top.get(key)?.value;
    if (node) checkText(key, node, problems);
  }
  const bits: [string, number][] = [];
  if (layersNode && layersNode.type !== 'object')
    problems.push(problem('shape', '"layers" must be an object: bits by layer name or glob.', layersNode));
  else if (layersNode)
    for (const [key, { name, value }] of membersOf(layersNode, problems)) {
      if (isGlob(key) && key.length > MAX_GLOB_LENGTH)
        problems.push(problem('shape', `A pattern has at most ${MAX_GLOB_LENGTH} characters.`, name));
      checkBits(key, value, problems);
      layers.set(key, rangeOf(name));
      bits.push([key, value.value as number]);
    }
  const places = { layers, ...(defaultNode && { default: rangeOf(defaultNode) }) };
  if (problems.length > 0) return { problems, places };
  const texts = Object.fromEntries(
    TEXTS.flatMap((key) => (top.has(key) ? [[key, top.get(key)!.value.value as string]] : [])),
  );
  const plan = { ...texts, default: defaultNode!.value as number, layers: Object.fromEntries(bits) };
  return { plan, problems, places };
}

/** Whether objects and lists lie in each other deeper than is parsed: parsers of JSON call themselves, and a stack ends somewhere. */
function isDeep(text: string): boolean {
  let [depth, quoted] = [0, false];
  for (let i = 0; i < text.length; i++) {
    const x = text[i]!;
    if (quoted && x === '\\') i++;
    else if (x === '"') quoted = !quoted;
    else if (!quoted && '[{'.includes(x) && ++depth > MAX_DEPTH) return true;
    else if (!quoted && ']}'.includes(x)) depth--;
  }
  return false;
}

const TEXTS = ['$schema', 'model', 'adapters'] as const;

const failed = (problems: readonly PlanProblem[]): PlanReading => ({
  problems,
  places: { layers: new Map() },
});

export interface ResolvedPlan {
  /** By layer, whatever the plan says; of contradicting globs the first counts. */
  readonly bits: readonly number[];
  /** The key of `layers` that decided, by layer; undefined for the default. */
  readonly from: readonly (string | undefined)[];
  readonly problems: readonly PlanProblem[];
}

/**
 * The bits of each of `layers`, with the problems of a plan that is well formed: keys that match no layer, bit-widths
 * other than `bits`, contradicting globs.
 *
 * @param places of the reading, for the places of the problems
 */
export function resolvePlan(
  plan: PrecisionPlan,
  layers: readonly string[],
  bits: readonly number[],
  places: PlanReading['places'] = { layers: new Map() },
): ResolvedPlan {
  const problems: PlanProblem[] = [];
  const placeOf = (key: string) => places.layers.get(key) ?? NOWHERE;
  const offered = new Set(bits);
  const names = new Set(layers);
  const exact = new Map(Object.entries(plan.layers).filter(([key]) => names.has(key)));
  const globs = globsOf(plan, names);
  if (!globs) return { ...uniform(plan, layers), problems: [problem('shape', TOO_MANY, NOWHERE)] };
  const used = new Set<string>(exact.keys());
  const clashes = new Map<string, Clash>();

  const decided = layers.map((layer): [number, string | undefined] => {
    const own = exact.get(layer);
    const found = globs.filter(({ matches }) => matches(layer));
    for (const { key } of found) used.add(key);
    if (own !== undefined) return [own, layer];
    const [first] = found;
    if (!first) return [plan.default, undefined];
    for (const other of found) if (other.bits !== first.bits) addClash(clashes, first.key, other.key, layer);
    return [first.bits, first.key];
  });

  const lacking = (width: number) =>
    `${width === 1 ? '1 bit is' : `${width} bits are`} not offered; there are ${bits.join(', ')}.`;
  if (!offered.has(plan.default) && decided.some(([, key]) => key === undefined))
    problems.push(problem('bits', lacking(plan.default), places.default ?? NOWHERE));
  let helped = 0;
  for (const [key, width] of Object.entries(plan.layers)) {
    if (!used.has(key)) {
      const help = helped++ < HELPED ? helpWith(key, layers) : '';
      const kind = isGlob(key) ? 'No layer matches' : 'There is no layer';
      problems.push(problem('layer', `${kind} "${key}".${help}`, placeOf(key)));
    } else if (!offered.has(width)) problems.push(problem('bits', lacking(width), placeOf(key)));
  }
  for (const { first, other, layers: both } of clashes.values()) {
    const rest = both.length > 1 ? ` and ${both.length - 1} more` : '';
    const message = `"${first}" and "${other}" give "${both[0]!}"${rest} different bits; name the layer itself, or narrow a pattern.`;
    problems.push(problem('contradiction', message, placeOf(other)));
  }
  return { bits: decided.map(([width]) => width), from: decided.map(([, key]) => key), problems };
}

/** Keys that somebody is helped with: of many, most are those of another model. */
const HELPED = 8;

/** What may have been meant by a key that matches no layer: a sentence behind a space, or nothing. */
function helpWith(key: string, layers: readonly string[]): string {
  if (!isGlob(key)) {
    const near = nearestName(key, layers);
    return near === undefined ? '' : ` Did you mean "${near}"?`;
  }
  const wide = key.replace(/\*+/g, '**');
  if (wide === key || !canMatch([wide], layers) || !layers.some(compileGlob(wide))) return '';
  return ` * does not match a dot, ** does: "${wide}".`;
}

interface Clash {
  readonly first: string;
  readonly other: string;
  readonly layers: string[];
}

function addClash(clashes: Map<string, Clash>, first: string, other: string, layer: string): void {
  const name = JSON.stringify([first, other]);
  const clash = clashes.get(name) ?? { first, other, layers: [] };
  clash.layers.push(layer);
  clashes.set(name, clash);
}

export interface Glob {
  readonly key: string;
  readonly bits: number;
  readonly matches: (name: string) => boolean;
}

/**
 * The keys of a plan that are patterns, and no layer's name, in their order; undefined where matching them would take too
 * long.
 */
export function globsOf(plan: PrecisionPlan, names: ReadonlySet<string>): Glob[] | undefined {
  const globs = Object.entries(plan.layers).filter(([key]) => isGlob(key) && !names.has(key));
  const keys = globs.map(([key]) => key);
  if (!canMatch(keys, names)) return undefined;
  return globs.map(([key, bits]) => ({ key, bits, matches: compileGlob(key) }));
}

const TOO_MANY = 'Its patterns are too many for this model; name layers themselves, or use fewer.';

const uniform = (plan: PrecisionPlan, layers: readonly string[]) => ({
  bits: layers.map(() => plan.default),
  from: layers.map(() => undefined),
});

const NOWHERE: TextRange = { offset: 0, length: 0 };

const rangeOf = ({ offset, length }: TextRange): TextRange => ({ offset, length });
const opening = ({ offset }: TextRange): TextRange => ({ offset, length: 1 });

const problem = (kind: PlanProblem['kind'], message: string, range: TextRange): PlanProblem => ({
  kind,
  message,
  ...rangeOf(range),
});

interface Member {
  readonly name: Node;
  readonly value: Node;
}

/** Keys in their order. A key twice is a problem; the first counts. */
function membersOf(object: Node, problems: PlanProblem[]): Map<string, Member> {
  const members = new Map<string, Member>();
  for (const property of object.children ?? []) {
    const [name, value] = property.children ?? [];
    if (!name || !value) continue;
    const key = name.value as string;
    if (members.has(key)) problems.push(problem('shape', `"${key}" stands here twice.`, name));
    else if (key === '__proto__') problems.push(problem('shape', 'A key cannot be "__proto__".', name));
    else members.set(key, { name, value });
  }
  return members;
}

function checkBits(key: string, node: Node, problems: PlanProblem[]): void {
  const value: unknown = node.value;
  const fits = typeof value === 'number' && value >= MIN_BITS && value <= MAX_BITS;
  if (!fits)
    problems.push(
      problem('shape', `"${key}" must be a number of bits from ${MIN_BITS} to ${MAX_BITS}.`, node),
    );
}

function checkText(key: string, node: Node, problems: PlanProblem[]): void {
  const value: unknown = node.value;
  if (typeof value !== 'string') problems.push(problem('shape', `"${key}" must be a text.`, node));
  else if (key !== '$schema' && !/^(?![\\/]|[A-Za-z]:)[^\0]+$/.test(value))
    problems.push(problem('shape', `"${key}" must be a path relative to the plan's folder.`, node));
}

/** Such as `value expected`. */
const syntaxText = ({ error }: ParseError): string =>
  printParseErrorCode(error)
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase();
