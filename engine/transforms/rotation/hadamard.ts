/**
 * Hadamard matrices: entries ±1, rows orthogonal. Powers of two by Sylvester's doubling, other orders by the two
 * constructions of Paley (1933), and products of these as factors that are cheap to apply one after another.
 */

/**
 * A factor above this would be a large constant, and multiplying by it no cheaper than by the matrix it belongs to
 * (docs/METHOD.md, section 9).
 */
const MAX_ORDER = 1024;
/** What a pass over a tensor costs beside its products, in products per number (docs/METHOD.md, section 9). */
const PASS = 96;

/**
 * Orders whose Hadamard matrices have one of order `size` as their Kronecker product, the cheapest to apply; undefined where none
 * is known here. Sizes are powers of two, or multiples of four.
 */
export function hadamardFactors(size: number): readonly number[] | undefined {
  const known = new Map<number, { readonly cost: number; readonly orders: readonly number[] } | undefined>();
  const cheapest = (n: number) => {
    if (n === 1) return { cost: 0, orders: [] };
    if (known.has(n)) return known.get(n);
    let best: { cost: number; orders: readonly number[] } | undefined;
    for (let order = 2; order <= Math.min(n, MAX_ORDER); order++) {
      if (n % order !== 0 || !constructionOf(order)) continue;
      const rest = cheapest(n / order);
      const cost = rest && rest.cost + order + PASS;
      if (cost !== undefined && (!best || cost < best.cost))
        best = { cost, orders: [order, ...rest!.orders] };
    }
    known.set(n, best);
    return best;
  };
  return cheapest(size)?.orders;
}

/** A Hadamard matrix of an order that `hadamardFactors` names, row-major. */
export function hadamardMatrix(order: number): Int8Array {
  const construct = constructionOf(order);
  if (!construct) throw new Error(`No Hadamard matrix of order ${order} is known here.`);
  const entry = construct();
  return Int8Array.from({ length: order * order }, (_, i) => entry(Math.floor(i / order), i % order));
}

type Entry = (row: number, column: number) => number;

/** The construction for an order, which gives its entries; undefined where there is none. */
function constructionOf(order: number): (() => Entry) | undefined {
  if (Number.isInteger(Math.log2(order))) return sylvester;
  if (order % 4 !== 0) return undefined;
  const first = primePower(order - 1);
  if (first) return () => paleyFirst(first);
  const second = primePower(order / 2 - 1);
  if (second && (order / 2 - 1) % 4 === 1) return () => paleySecond(second);
  return undefined;
}

/** (−1)^⟨row, column⟩, the product over binary digits. */
const sylvester = (): Entry => (row, column) => {
  let ones = 0;
  for (let both = row & column; both !== 0; both &= both - 1) ones++;
  return ones % 2 === 0 ? 1 : -1;
};

/** I + S for q ≡ 3 mod 4: order q + 1. */
function paleyFirst(field: PrimePower): Entry {
  const core = conference(field, -1);
  return (row, column) => (row === column ? 1 : core(row, column));
}

/** S ⊗ [1 1; 1 −1] + I ⊗ [1 −1; −1 −1] for q ≡ 1 mod 4: order 2(q + 1). */
function paleySecond(field: PrimePower): Entry {
  const core = conference(field, 1);
  return (row, column) => {
    const [i, j] = [row >> 1, column >> 1];
    const corner = row % 2 === 1 && column % 2 === 1 ? -1 : 1;
    if (i !== j) return core(i, j) * corner;
    return row % 2 === 0 && column % 2 === 0 ? 1 : -1;
  };
}

/** S of order q + 1: zero diagonal, first row 1, first column `side`, else χ(a − b), the quadratic character of the field. */
function conference(field: PrimePower, side: 1 | -1): Entry {
  const character = quadraticCharacter(field);
  return (row, column) => {
    if (row === column) return 0;
    if (row === 0) return 1;
    if (column === 0) return side;
    return character(row - 1, column - 1);
  };
}

/** q = prime^degree. */
interface PrimePower {
  readonly prime: number;
  readonly degree: number;
}

/** The odd q as the power of a prime, degree 3 at most. */
function primePower(q: number): PrimePower | undefined {
  let prime = 3;
  while (prime * prime <= q && q % prime !== 0) prime += 2;
  if (q < 3 || q % 2 === 0) return undefined;
  if (q % prime !== 0) return { prime: q, degree: 1 };
  const degree = Math.round(Math.log(q) / Math.log(prime));
  return degree <= 3 && prime ** degree === q ? { prime, degree } : undefined;
}

/**
 * χ(a − b) in the field of q elements: 1 for squares, −1 for others, 0 for zero. An element stands for the polynomial whose
 * coefficients are its digits in base `prime`, lowest first.
 */
function quadraticCharacter({ prime, degree }: PrimePower): (a: number, b: number) => number {
  const size = prime ** degree;
  const digits = (a: number) => Array.from({ length: degree }, (_, i) => Math.floor(a / prime ** i) % prime);
  const number = (list: readonly number[]) => list.reduce((sum, digit, i) => sum + digit * prime ** i, 0);
  const modulus = irreducible(prime, degree);
  const square = (a: readonly number[]) => {
    const product = Array<number>(2 * degree - 1).fill(0);
    for (const [i, x] of a.entries())
      for (const [j, y] of a.entries()) product[i + j] = (product[i + j]! + x * y) % prime;
    for (let top = product.length - 1; top >= degree; top--) {
      const factor = product[top]!;
      modulus.forEach((m, i) => {
        const at = top - degree + i;
        product[at] = (product[at]! + factor * (prime - m)) % prime;
      });
    }
    return product.slice(0, degree);
  };
  const elements = Array.from({ length: size }, (_, a) => digits(a));
  const squares = new Set(elements.map((a) => number(square(a))));
  return (a, b) => {
    if (a === b) return 0;
    const [x, y] = [elements[a]!, elements[b]!];
    return squares.has(number(x.map((digit, i) => (digit - y[i]! + prime) % prime))) ? 1 : -1;
  };
}

/** The lower coefficients of a monic polynomial without factors: of degree 3 or less, one without roots. */
function irreducible(prime: number, degree: number): readonly number[] {
  if (degree === 1) return [0];
  for (let code = 0; ; code++) {
    const lower = Array.from({ length: degree }, (_, i) => Math.floor(code / prime ** i) % prime);
    const valueAt = (x: number) => [...lower, 1].reduceRight((sum, c) => (sum * x + c) % prime, 0);
    if (Array.from({ length: prime }, (_, x) => valueAt(x)).every((value) => value !== 0)) return lower;
  }
}
