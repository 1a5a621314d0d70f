import { UserError } from '../../errors.js';
import { expectObject, expectObjectAt } from '../../formats/json.js';
import type { JsonObject, JsonValue } from '../../formats/json.js';
import { show } from '../../formats/paths.js';

/** Token ids are indices of arrays: no vocabulary comes near this. */
const MAX_ID = 2 ** 24;
const MODELS = ['BPE', 'Unigram', 'WordPiece'];
/** SentencePiece's mark of a space. */
const MARK = '▁';

/**
 * The content of a `tokenizer.json` in the form that the tokenizer library takes, its vocabulary checked and
 * its words cut as `cutWords` says. `UserError` for kinds that the library would read and encode wrongly.
 */
export function checkTokenizer(value: JsonValue, where: string): JsonObject {
  const json = expectObject(value, where);
  const model = expectObjectAt(json, 'model', where);
  const type = model.type ?? (model.merges ? 'BPE' : Array.isArray(model.vocab) ? 'Unigram' : 'WordPiece');
  if (typeof type !== 'string' || !MODELS.includes(type))
    throw new UserError(
      `${where}: tokenizers of type ${show(type, 40)} are not supported (${MODELS.join(', ')} are).`,
    );
  if (type === 'BPE' && model.continuing_subword_prefix)
    throw new UserError(`${where}: BPE with a prefix for the parts of a word is not supported.`);
  checkVocabulary(model.vocab, type === 'Unigram', where);
  if (type === 'BPE') checkMerges(model.merges, where);
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added) || !added.every(isAddedToken))
    throw new UserError(`${where}: "added_tokens" must be a list of {id, content}.`);
  checkSplits(json.pre_tokenizer ?? null, (json.normalizer ?? null) !== null, where);
  const checked = {
    added_tokens: added,
    normalizer: json.normalizer ?? null,
    pre_tokenizer: json.pre_tokenizer ?? null,
    post_processor: json.post_processor ?? null,
    decoder: json.decoder ?? null,
    model: { ...model, type },
  };
  return { ...checked, pre_tokenizer: cutWords(checked.pre_tokenizer, checked.model) };
}

const isId = (id: unknown) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < MAX_ID;

const isAddedToken = (token: JsonValue) =>
  typeof token === 'object' &&
  token !== null &&
  !Array.isArray(token) &&
  isId(token.id) &&
  typeof token.content === 'string' &&
  token.content !== '';

function checkVocabulary(vocab: unknown, isList: boolean, where: string): void {
  const isPair = (entry: unknown) =>
    Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number';
  const isFine =
    typeof vocab === 'object' &&
    vocab !== null &&
    Array.isArray(vocab) === isList &&
    (Array.isArray(vocab) ? vocab.length <= MAX_ID && vocab.every(isPair) : Object.values(vocab).every(isId));
  if (!isFine) throw new UserError(`${where}: "vocab" must be a vocabulary of tokens and ids.`);
}

function checkMerges(merges: unknown, where: string): void {
  const isPair = (merge: unknown) =>
    typeof merge === 'string' ||
    (Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string'));
  if (!Array.isArray(merges) || !merges.every(isPair))
    throw new UserError(`${where}: "merges" must be a list of pairs of tokens.`);
}

/**
 * The library cuts at every match of a `Split` and drops or keeps it; other ways to treat the match would give
 * wrong ids. One of them does no harm: a split at spaces after a normalizer that left none.
 */
function checkSplits(part: JsonValue, isNormalized: boolean, where: string): void {
  if (typeof part !== 'object' || part === null || Array.isArray(part)) return;
  if (Array.isArray(part.pretokenizers))
    for (const inner of part.pretokenizers) checkSplits(inner, isNormalized, where);
  const { type, behavior = null } = part;
  if (type !== 'Split') return;
  if (typeof behavior === 'string' && ['isolated', 'removed'].includes(behavior.toLowerCase())) return;
  const pattern = part.pattern as JsonObject | undefined;
  if (!(isNormalized && pattern?.String === ' '))
    throw new UserError(`${where}: a split of behaviour ${show(behavior, 40)} is not supported.`);
}

/**
 * SentencePiece models take a whole text as one word, which is slow when the text is long and finds nothing in
 * the library's cache of words. The text is cut before spaces (`▁`) instead, which yields the same ids:
 * - `Metaspace` is defined to cut before each `▁` unless its `split` is false; the library leaves that out.
 * - Otherwise a cut between another character and `▁` is made if no merge of the BPE model joins such two.
 *   Every token that a merge builds then lies on one side of the cut, so the merges on either side, whichever
 *   comes first, are the same as without it.
 */
function cutWords(part: JsonValue, model: JsonObject): JsonValue {
  const kind = part === null ? undefined : (part as JsonObject);
  if (kind && kind.type !== 'Metaspace') return part;
  if (kind && (kind.replacement ?? MARK) !== MARK) return part;
  const isDefined = kind !== undefined && kind.split !== false;
  if (!isDefined && !(model.type === 'BPE' && !model.ignore_merges && mergesStayInWords(model.merges)))
    return part;
  const cut = {
    type: 'Split',
    pattern: { Regex: isDefined ? `(?=${MARK})` : `(?<=[^${MARK}])(?=${MARK})` },
    behavior: 'Isolated',
    invert: false,
  };
  return { type: 'Sequence', pretokenizers: kind ? [kind, cut] : [cut] };
}

function mergesStayInWords(merges: JsonValue | undefined): boolean {
  const crossing = new RegExp(`[^${MARK}]${MARK}`, 'u');
  return (merges as (string | string[])[]).every(
    (merge) => !crossing.test(typeof merge === 'string' ? merge.replace(' ', '') : merge.join('')),
  );
}
