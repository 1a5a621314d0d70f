/** What exports are called. Knows no editor. */

/** The longest name that every file system takes, in bytes, less room for what makes it another. */
const LONGEST = 200;

/**
 * The name of a file or folder for an export, such as `llama-4-bits.gguf` or `llama-4-bits-safetensors`: one that is not taken.
 * @param what the bits or the plan @param ending of a file; a folder is told from others by its format's name
 */
export function exportName(
  { model, what }: { readonly model: string; readonly what: string },
  { name, ending }: { readonly name: string; readonly ending?: string },
  isTaken: (name: string) => boolean,
): string {
  const [format, last] = ending === undefined ? [`-${name}`, ''] : ['', ending];
  const first = shortened(`${model}-${what}`, LONGEST - Buffer.byteLength(format + last)) + format;
  for (let count = 1; ; count++) {
    const candidate = `${first}${count === 1 ? '' : ` (${count})`}${last}`;
    if (!isTaken(candidate)) return candidate;
  }
}

function shortened(text: string, bytes: number): string {
  let short = text;
  while (Buffer.byteLength(short) > bytes) short = [...short].slice(0, -1).join('');
  return short;
}
