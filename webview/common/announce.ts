import { element } from './dom.js';

/** A place whose changes screen readers speak when they are idle. Its last lines stay, so that none is lost in a burst. */
export function announcer(lines = 5): { readonly root: HTMLElement; say(line: string): void } {
  const root = element('div', { class: 'spoken', role: 'log', 'aria-live': 'polite' });
  return {
    root,
    say(line) {
      root.append(element('p', {}, line));
      while (root.childElementCount > lines) root.firstElementChild?.remove();
    },
  };
}
