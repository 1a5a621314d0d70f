/** A word of a command line, quoted for a shell as POSIX has it where it must be. */
export const shellWord = (word: string): string =>
  /^[\w./:~+@%=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
