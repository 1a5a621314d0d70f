/** Patterns of layer names: `*` stands for any run of characters but `.`, `**` for any run, `?` for one character but `.`. */

export const isGlob = (key: string): boolean => /[*?]/.test(key);

/** States of a pattern that one step of the work takes at once. */
const WORD = 32;

/** Longer than any name of a layer. */
export const MAX_GLOB_LENGTH = 1000;
/** About a second. */
const MAX_STEPS = 2 ** 28;
/** What making a pattern takes, in characters matched. */
const OWN_CHARACTERS = 10_000;

/** Whether so many globs can be matched with so many names. */
export function canMatch(globs: readonly string[], names: Iterable<string>): boolean {
  let characters = OWN_CHARACTERS;
  for (const { length } of names) characters += length;
  const words = globs.reduce((sum, { length }) => sum + Math.ceil((length + 1) / WORD), 0);
  return characters * words <= MAX_STEPS;
}

/**
 * A function that tells which names `glob` matches as a whole. Its time is the length of the name times that of the glob over 32
 * at most: the states of the pattern are bits.
 */
export function compileGlob(glob: string): (name: string) => boolean {
  // A run of more than two stars is one of two.
  const tokens = (glob.match(/\*+|./gsu) ?? []).map((token) => token.replace(/^\*\*+$/, '**'));
  const words = Math.ceil((tokens.length + 1) / WORD);
  const places = placesOf(tokens, words);
  const nowhere = new Uint32Array(words);
  const at = (token: string) => places.get(token) ?? nowhere;
  const runs = at('**').map((bits, w) => bits | at('*')[w]!);

  return (name) => {
    let states = new Uint32Array(words);
    let next = new Uint32Array(words);
    states[0] = 1;
    passRuns(states, runs);
    for (const character of name) {
      const isDot = character === '.';
      // States that the character leaves as they are, and those that move on: at any character, or at this one.
      const stays = isDot ? at('**') : runs;
      const wild = isDot ? nowhere : at('?');
      const own = character === '*' || character === '?' ? nowhere : at(character);
      let carry = 0;
      let any = 0;
      for (let w = 0; w < words; w++) {
        const moved = states[w]! & (wild[w]! | own[w]!);
        next[w] = (states[w]! & stays[w]!) | (moved << 1) | carry;
        carry = moved >>> 31;
        any |= next[w]!;
      }
      if (any === 0) return false;
      passRuns(next, runs);
      [states, next] = [next, states];
    }
    return ((states[tokens.length >>> 5]! >>> (tokens.length & 31)) & 1) === 1;
  };
}

/** The states that each token stands at. */
function placesOf(tokens: readonly string[], words: number): Map<string, Uint32Array> {
  const places = new Map<string, Uint32Array>();
  for (const [i, token] of tokens.entries()) {
    if (!places.has(token)) places.set(token, new Uint32Array(words));
    places.get(token)![i >>> 5]! |= 1 << (i & 31);
  }
  return places;
}

/** A run may be empty: whoever is before one may be behind it. No run stands before another. */
function passRuns(states: Uint32Array, runs: Uint32Array): void {
  let carry = 0;
  for (let w = 0; w < states.length; w++) {
    const moved = states[w]! & runs[w]!;
    states[w]! |= (moved << 1) | carry;
    carry = moved >>> 31;
  }
}
