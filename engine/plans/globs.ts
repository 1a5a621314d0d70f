/** Patterns of layer names: `*` stands for any run of characters but `.`, `**` for any run, `?` for one character but `.`. */

export const isGlob = (key: string): boolean => /[*?]/.test(key);

type Token =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'one' }
  | { readonly kind: 'run'; readonly dots: boolean };

/** A function that tells which names `glob` matches as a whole. Its time is the product of both lengths at most. */
export function compileGlob(glob: string): (name: string) => boolean {
  const tokens = tokensOf(glob);
  return (name) => {
    let states = open(tokens, new Set([0]));
    for (const character of name) {
      if (states.size === 0) return false;
      states = open(tokens, step(tokens, states, character));
    }
    return states.has(tokens.length);
  };
}

const tokensOf = (glob: string): readonly Token[] =>
  (glob.match(/\*+|./gsu) ?? []).map((text): Token => {
    if (text.startsWith('*')) return { kind: 'run', dots: text.length > 1 };
    return text === '?' ? { kind: 'one' } : { kind: 'text', text };
  });

/** States from which the next character may be read: a run may also be empty. */
function open(tokens: readonly Token[], states: Set<number>): Set<number> {
  for (const state of states) if (tokens[state]?.kind === 'run') states.add(state + 1);
  return states;
}

function step(tokens: readonly Token[], states: ReadonlySet<number>, character: string): Set<number> {
  const next = new Set<number>();
  for (const state of states) {
    const token = tokens[state];
    if (token?.kind === 'run' && (token.dots || character !== '.')) next.add(state);
    if (token?.kind === 'one' && character !== '.') next.add(state + 1);
    if (token?.kind === 'text' && token.text === character) next.add(state + 1);
  }
  return next;
}
