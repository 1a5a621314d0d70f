import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { UserError } from '../../errors.js';
import { decodeUtf8, expectObject, parseJsonStrict } from '../../formats/json.js';
import type { JsonObject } from '../../formats/json.js';
import { fileError } from '../../formats/paths.js';

const NEWLINE = 0x0a;
const MAX_LINE_BYTES = 64 * 1024 * 1024;

export interface JsonLine {
  /** What messages call it: `train.jsonl line 3`, counted from 1. */
  readonly name: string;
  readonly row: JsonObject;
}

/**
 * The objects of a file of JSON lines, one at a time, read as they are asked for; blank lines are passed over.
 * `UserError`, with the line's number, where a line is not UTF-8, not JSON (as Python writes it), not an object or above 64 MiB.
 */
export async function* readJsonLines(path: string): AsyncGenerator<JsonLine> {
  let number = 0;
  for await (const bytes of readLines(path)) {
    const name = `${basename(path)} line ${++number}`;
    const text = decodeUtf8(bytes, name);
    if (text.trim() === '') continue;
    if (text.trimStart().startsWith('['))
      throw new UserError(`${name}: begins a JSON list; JSON lines are needed, one object on each line.`);
    yield { name, row: expectObject(parseJsonStrict(text, name, { python: true }), name) };
  }
}

/** The lines of a file without their ends. No byte of a longer UTF-8 sequence is a line feed. */
async function* readLines(path: string): AsyncGenerator<Uint8Array> {
  let parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        yield Buffer.concat([...parts, chunk.subarray(start, end)]);
        parts = [];
        size = 0;
        start = end + 1;
      }
      parts.push(chunk.subarray(start));
      size += chunk.length - start;
      if (size > MAX_LINE_BYTES)
        throw new UserError(`${basename(path)}: a line is longer than ${MAX_LINE_BYTES} bytes.`);
    }
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  if (size > 0) yield Buffer.concat(parts);
}
