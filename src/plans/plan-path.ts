/** How files of plans are named. */

/** The path of a plan that somebody named so: with the whole extension of plans, once. */
export const planPath = (path: string): string =>
  `${path.replace(/(\.precision|\.json)+$/, '')}.precision.json`;
