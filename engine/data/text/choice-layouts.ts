import { UserError } from '../../errors.js';
import { show } from '../../formats/paths.js';

export interface ChoicePair {
  readonly context: string;
  readonly continuation: string;
  /** Length of the choice in characters, the space before it not counted. */
  readonly characters: number;
}

export interface ChoiceItem {
  /** What the model reads, and how it may go on; the pair of the right answer should be the likeliest. */
  readonly pairs: readonly ChoicePair[];
  /** The index of the right pair. */
  readonly answer: number;
}

type Row = ReadonlyMap<string, unknown>;

interface Layout {
  readonly name: string;
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** `where` names the row in messages. */
  read(row: Row, where: string): ChoiceItem;
}

/**
 * The layouts that are known, by their columns; the first that fits counts.
 *
 * The space between context and choice belongs to the continuation: tokenizers join it to the word behind it. The wording of the contexts and the treatment
 * of HellaSwag's texts are those of EleutherAI's evaluation harness, so that results can be compared.
 */
export const LAYOUTS: readonly Layout[] = [
  {
    name: 'piqa',
    required: ['goal', 'sol1', 'sol2'],
    optional: ['label'],
    read: (row, where) =>
      spacedItem(
        `Question: ${textAt(row, 'goal', where)}\nAnswer:`,
        [textAt(row, 'sol1', where), textAt(row, 'sol2', where)],
        indexAt(row, 'label', 2, where),
        where,
      ),
  },
  {
    name: 'arc',
    required: ['question', 'answerKey'],
    optional: ['choices'],
    read: (row, where) => {
      const { question, choices } = arcQuestion(row, where);
      const labels = choices.map(({ label }) => label);
      const answer = labels.indexOf(String(answerAt(row, 'answerKey', where)));
      if (answer < 0) throw outOfRange(row, 'answerKey', labels.join(', '), where);
      const texts = choices.map(({ text }) => text);
      return spacedItem(`Question: ${question}\nAnswer:`, texts, answer, where);
    },
  },
  {
    name: 'hellaswag',
    required: ['endings', 'label'],
    optional: ['activity_label', 'ctx_a', 'ctx_b', 'ctx'],
    read: (row, where) => {
      const endings = texts(row.get('endings'), '"endings"', where);
      const answer = indexAt(row, 'label', endings.length, where);
      const activity = row.get('activity_label') ? `${textAt(row, 'activity_label', where)}: ` : '';
      const context = cleanHellaSwag(activity + hellaSwagContext(row, where));
      return spacedItem(context, endings.map(cleanHellaSwag), answer, where);
    },
  },
  {
    name: 'winogrande',
    required: ['sentence', 'option1', 'option2', 'answer'],
    optional: [],
    read: (row, where) => {
      const [before, ...after] = textAt(row, 'sentence', where).split('_');
      if (after.length === 0) throw new UserError(`${where}: "sentence" has no blank, "_".`);
      const rest = after.join('_').trim();
      const options = [textAt(row, 'option1', where), textAt(row, 'option2', where)];
      const answer = Number(answerAt(row, 'answer', where)) - 1;
      if (answer !== 0 && answer !== 1) throw outOfRange(row, 'answer', '1, 2', where);
      return { pairs: options.map((option) => spacedPair(before + option, rest)), answer };
    },
  },
  {
    name: 'choices',
    required: ['context', 'choices', 'answer'],
    optional: [],
    read: (row, where) => {
      const choices = texts(row.get('choices'), '"choices"', where);
      const answer = indexOrLetter(row, 'answer', choices.length, where);
      const context = textAt(row, 'context', where, true);
      requireChoices(choices, where);
      return { pairs: choices.map((choice) => joinedPair(context, choice)), answer };
    },
  },
];

/** The first layout that `columns` fit. */
export const findLayout = (columns: readonly string[]): Layout | undefined =>
  LAYOUTS.find(
    ({ name, required }) =>
      required.every((column) => columns.includes(column)) &&
      (name !== 'hellaswag' || columns.includes('ctx') || columns.includes('ctx_a')),
  );

/** One context and its choices, each behind a space. */
function spacedItem(context: string, choices: readonly string[], answer: number, where: string): ChoiceItem {
  requireChoices(choices, where);
  return { pairs: choices.map((choice) => spacedPair(context, choice)), answer };
}

const spacedPair = (context: string, choice: string): ChoicePair => ({
  context,
  continuation: ` ${choice}`,
  characters: charactersOf(choice),
});

/** With a space between them where neither has one, and there is something before it. */
function joinedPair(context: string, choice: string): ChoicePair {
  const isJoined = context === '' || /\s$/u.test(context) || /^\s/u.test(choice);
  return {
    context,
    continuation: isJoined ? choice : ` ${choice}`,
    characters: charactersOf(choice.trimStart()),
  };
}

/** Code points, as Python counts them. */
const charactersOf = (text: string): number => [...text].length;

function requireChoices(choices: readonly string[], where: string): void {
  if (choices.length < 2) throw new UserError(`${where}: ${choices.length} choices; at least 2 are needed.`);
  const empty = choices.findIndex((choice) => choice.trim() === '');
  if (empty >= 0) throw new UserError(`${where}: choice ${empty} is empty.`);
}

interface ArcQuestion {
  readonly question: string;
  readonly choices: readonly { readonly text: string; readonly label: string }[];
}

/** `question` is a text beside lists of texts and labels, or, as first published, an object with a stem and choices. */
function arcQuestion(row: Row, where: string): ArcQuestion {
  const nested = row.get('question');
  if (isObject(nested)) {
    const inside = new Map(Object.entries(nested));
    if (!Array.isArray(nested.choices))
      throw new UserError(`${where}: "question" holds no list of "choices".`);
    return {
      question: textAt(inside, 'stem', where),
      choices: nested.choices.map((choice: unknown) => {
        const fields = new Map(isObject(choice) ? Object.entries(choice) : []);
        return { text: textAt(fields, 'text', where), label: textAt(fields, 'label', where) };
      }),
    };
  }
  const choices = row.get('choices');
  const [texts, labels] = [textsIn(choices, 'text', where), textsIn(choices, 'label', where)];
  if (labels.length !== texts.length)
    throw new UserError(
      `${where}: "choices" has ${texts.length} texts and ${labels.length} labels; as many are needed.`,
    );
  return {
    question: textAt(row, 'question', where),
    choices: texts.map((text, i) => ({ text, label: labels[i]! })),
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function hellaSwagContext(row: Row, where: string): string {
  if (row.get('ctx_a') === undefined || row.get('ctx_a') === null) return textAt(row, 'ctx', where);
  const second = row.get('ctx_b') ? textAt(row, 'ctx_b', where) : '';
  const sentence = second.slice(0, 1).toUpperCase() + second.slice(1).toLowerCase();
  return `${textAt(row, 'ctx_a', where, true)} ${sentence}`;
}

/** Takes out WikiHow's `[title]`, `[step]` and such, and the double spaces that they leave. */
const cleanHellaSwag = (text: string): string =>
  text
    .trim()
    .replaceAll(' [title]', '. ')
    .replace(/\[.*?\]/g, '')
    .replaceAll('  ', ' ');

function textAt(row: Row, column: string, where: string, mayBeEmpty = false): string {
  const value = row.get(column);
  if (typeof value === 'string' && (mayBeEmpty || value.trim() !== '')) return value;
  throw new UserError(`${where}: "${column}" must be a text, ${found(value)}.`);
}

function textsIn(value: unknown, key: string, where: string): readonly string[] {
  const list = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return texts(list, `"choices.${key}"`, where);
}

function texts(value: unknown, name: string, where: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new UserError(`${where}: ${name} must be a list of texts, ${found(value)}.`);
}

/** The answer as it stands: a text or a number. Test splits are often published without. */
function answerAt(row: Row, column: string, where: string): string | number {
  const value = row.get(column);
  if (value === undefined || value === null || value === '')
    throw new UserError(`${where}: "${column}" holds no answer; take a split that has answers.`);
  if (typeof value === 'string' || typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  throw new UserError(`${where}: "${column}" must be a text or a number, ${found(value)}.`);
}

/** The answer under `column`, 0 to `count - 1`, as a number or its digits. */
function indexAt(row: Row, column: string, count: number, where: string): number {
  const value = answerAt(row, column, where);
  const index = typeof value === 'string' && !/^\d+$/.test(value) ? NaN : Number(value);
  if (Number.isInteger(index) && index >= 0 && index < count) return index;
  throw outOfRange(row, column, `0 to ${count - 1}`, where);
}

/** As `indexAt`, or a letter from A. */
function indexOrLetter(row: Row, column: string, count: number, where: string): number {
  const value = answerAt(row, column, where);
  if (typeof value !== 'string' || !/^[a-z]$/i.test(value)) return indexAt(row, column, count, where);
  const index = value.toUpperCase().charCodeAt(0) - 'A'.charCodeAt(0);
  if (index < count) return index;
  throw outOfRange(row, column, `A to ${String.fromCharCode('A'.charCodeAt(0) + count - 1)}`, where);
}

const outOfRange = (row: Row, column: string, range: string, where: string): UserError =>
  new UserError(`${where}: "${column}" must be one of ${range}, ${found(row.get(column))}.`);

const found = (value: unknown): string =>
  value === undefined
    ? 'but is missing'
    : `found ${value instanceof Uint8Array ? 'bytes that are not UTF-8' : show(printable(value), 40)}`;

const printable = (value: unknown) => (typeof value === 'bigint' ? Number(value) : value);
