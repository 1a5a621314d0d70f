/** Text that others wrote (names of folders and layers, errors, titles of jobs) as the editor may show it. */
import { visible, visibleLines } from '../../engine/plans/visible.js';

/** Takes no room, and stands where the editor would see the middle of a link `[text](command:…)` or the start of an icon `$(…)`. */
const NOTHING = '\u2060';

/** One line in which the editor finds no links: in messages and prompts it would run the commands that they name. */
export const plain = (text: string): string => visible(text).replaceAll('](', `]${NOTHING}(`);

/** The same of several lines. */
export const plainLines = (text: string): string => visibleLines(text).replaceAll('](', `]${NOTHING}(`);

/** A label in which the editor finds no icons but one at its beginning. */
export const plainLabel = (text: string): string => plain(text).replace(/(?<!^)\$\(/g, () => `$${NOTHING}(`);
