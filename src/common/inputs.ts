/** One question: a quick pick or an input box, with a button back. */
import { vscode } from './vscode.js';
import { BACK, type Place } from './ask.js';
import { inform } from './messages.js';
import { plain, plainLabel } from './plain.js';

export interface Choice<T> extends vscode.QuickPickItem {
  /** Absent where it cannot be chosen. */
  readonly value?: T;
}

export interface PickOptions<T> {
  readonly placeholder: string;
  /** Shown at once; what takes time may be filled in by `updates`. */
  readonly items: readonly Choice<T>[] | Promise<readonly Choice<T>[]>;
  /** Items again, each time with more to say; no more are asked for once there is an answer. */
  readonly updates?: AsyncIterable<readonly Choice<T>[]>;
  /** The one to begin at. */
  readonly active?: (value: T) => boolean;
}

/** One of several. */
export async function pickOne<T>(
  place: Place,
  options: PickOptions<T>,
): Promise<T | typeof BACK | undefined> {
  const picked = await pick(place, options, false, () => false);
  return Array.isArray(picked) ? picked[0] : picked;
}

/** At least one of several; `chosen` are ticked to begin with. */
export const pickSeveral = <T>(
  place: Place,
  options: PickOptions<T>,
  chosen: (value: T) => boolean,
): Promise<T[] | typeof BACK | undefined> => pick(place, options, true, chosen);

function pick<T>(
  place: Place,
  { placeholder, items, updates, active }: PickOptions<T>,
  several: boolean,
  chosen: (value: T) => boolean,
): Promise<T[] | typeof BACK | undefined> {
  const input = vscode.window.createQuickPick<Choice<T>>();
  setUp(input, place);
  input.placeholder = plain(placeholder);
  input.canSelectMany = several;
  input.matchOnDescription = true;
  const show = (list: readonly Choice<T>[]) => {
    const before = input.activeItems[0]?.value;
    const ticked = input.items.length > 0 ? input.selectedItems.map(({ value }) => value) : undefined;
    const isTicked = (item: Choice<T>) =>
      item.value !== undefined && (ticked ? ticked.includes(item.value) : chosen(item.value));
    input.items = list.map(plainItem);
    const at = input.items.find(
      ({ value }) => value !== undefined && (before !== undefined ? value === before : active?.(value)),
    );
    if (at && !several) input.activeItems = [at];
    if (several) input.selectedItems = input.items.filter(isTicked);
  };
  // What has no value can be read, not ticked. What does not fit into its row is told by its button.
  if (several)
    input.onDidChangeSelection((ticked) => {
      const chosen = ticked.filter(({ value }) => value !== undefined);
      if (chosen.length < ticked.length) input.selectedItems = chosen;
    });
  input.onDidTriggerItemButton(({ item }) => item.detail !== undefined && void inform(item.detail));
  return finish(input, async (resolve) => {
    input.onDidAccept(() => {
      const values = input.selectedItems.flatMap(({ value }) => (value === undefined ? [] : [value]));
      if (values.length > 0) resolve(values);
    });
    input.show();
    input.busy = true;
    show(await items);
    let isOver = false;
    input.onDidHide(() => (isOver = true));
    if (updates)
      for await (const list of updates) {
        if (isOver) return;
        show(list);
      }
    input.busy = false;
  });
}

const plainItem = <T>(item: Choice<T>): Choice<T> => ({
  ...item,
  label: plainLabel(item.label),
  ...(item.description !== undefined && { description: plainLabel(item.description) }),
  ...(item.detail !== undefined && { detail: plainLabel(item.detail) }),
});

export interface TextOptions {
  readonly prompt: string;
  readonly value: string;
  /** What is wrong with a text; undefined where nothing is. */
  readonly problem: (text: string) => string | undefined;
}

export function askText(
  place: Place,
  { prompt, value, problem }: TextOptions,
): Promise<string | typeof BACK | undefined> {
  const input = vscode.window.createInputBox();
  setUp(input, place);
  input.prompt = plain(prompt);
  input.value = value;
  const check = () => {
    const found = problem(input.value);
    input.validationMessage = found === undefined ? undefined : plain(found);
    return found === undefined;
  };
  return finish<string>(input, (resolve) => {
    input.onDidChangeValue(check);
    input.onDidAccept(() => {
      if (check()) resolve(input.value);
    });
    input.show();
    return Promise.resolve();
  });
}

function setUp(
  input: vscode.QuickInput & { buttons: readonly vscode.QuickInputButton[] },
  place: Place,
): void {
  input.title = plain(place.title);
  // One question alone is not counted.
  if (place.totalSteps > 1) {
    input.step = place.step;
    input.totalSteps = place.totalSteps;
  }
  input.ignoreFocusOut = true;
  if (place.back) input.buttons = [vscode.QuickInputButtons.Back];
}

/** Ends an input by its answer, the button back, or by being hidden; rejects where what it shows cannot be had. */
async function finish<R>(
  input: vscode.QuickPick<never> | vscode.InputBox | vscode.QuickPick<vscode.QuickPickItem>,
  run: (resolve: (result: R) => void) => Promise<void>,
): Promise<R | typeof BACK | undefined> {
  try {
    return await new Promise((resolve, reject) => {
      input.onDidHide(() => resolve(undefined));
      input.onDidTriggerButton((button) => {
        if (button === vscode.QuickInputButtons.Back) resolve(BACK);
      });
      run(resolve).catch(reject);
    });
  } finally {
    input.dispose();
  }
}
