/** Imported before anything else, so that the evaluation of all other modules comes after it. */
export const began = performance.now();
