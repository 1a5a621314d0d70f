/** Text of unknown origin (names of files, tensors and models, what is in files) as it may be shown. */

/**
 * Control characters, which a terminal obeys, ends of lines, which make one line look like two, and those that turn the
 * direction of what follows, which make a name look like another.
 */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

const escape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** `text` as one line without a character that is obeyed instead of shown: each is written as JSON does, `\u001b`. */
export const visible = (text: string): string => text.replace(UNSEEN, escape);

/** The same of a text of several lines, which stay apart. */
export const visibleLines = (text: string): string =>
  text.replace(UNSEEN, (character) => (character === '\n' ? character : escape(character)));
