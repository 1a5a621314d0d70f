/**
 * A stream of bytes to the bodies of messages: each comes behind lines of a header, one of which is its `Content-Length`, and
 * an empty line. Whatever else is in the stream is passed over, up to the next header.
 */

export interface FrameHooks {
  readonly body: (bytes: Buffer) => void;
  /** One line on what was passed over. */
  readonly trouble: (problem: string) => void;
}

/** What an engine is asked is small, but for pictures. */
export const MAX_BODY_BYTES = 64 << 20;
/** A body above the limit is passed over whole, unless none could be so long. */
const MAX_SKIPPED_BYTES = 2 ** 30;
const MAX_HEADER_BYTES = 4096;

/** Every line of a header begins so. */
const BEGINNING = 'Content-';
const LENGTH = 'Content-Length:';
const END = '\r\n\r\n';

/** @returns what takes the bytes of the stream as they come */
export function readFrames({ body, trouble }: FrameHooks): (chunk: Buffer) => void {
  let state: 'header' | 'body' | 'searching' = 'header';
  let buffer: Buffer = Buffer.alloc(0);
  let parts: Buffer[] | undefined;
  /** Bytes of the body that have not come yet. */
  let missing = 0;

  /** Each takes what it can of the buffer, and says whether there may be more to take. */
  const take = {
    header: (): boolean => {
      if (buffer.length === 0) return false;
      if (!BEGINNING.startsWith(buffer.toString('latin1', 0, BEGINNING.length)))
        return pass('Bytes that no Content-Length announces were passed over.');
      const end = buffer.subarray(0, MAX_HEADER_BYTES).indexOf(END, 0, 'latin1');
      if (end < 0 && buffer.length < MAX_HEADER_BYTES) return false;
      const header = buffer.toString('latin1', 0, end < 0 ? 1 : end);
      const length = lengthIn(header);
      if (length === undefined || length > MAX_SKIPPED_BYTES) {
        // A header that was broken off runs into the next one.
        const next = header.search(/(?<!^|\r\n)Content-Length:/);
        return pass(
          'A message without a valid Content-Length was passed over.',
          next < 0 && end >= 0 ? end + END.length : Math.max(1, next),
        );
      }
      if (length > MAX_BODY_BYTES)
        trouble(`A message of ${length} bytes was passed over; there may be ${MAX_BODY_BYTES}.`);
      buffer = buffer.subarray(end + END.length);
      parts = length > MAX_BODY_BYTES ? undefined : [];
      missing = length;
      state = 'body';
      return true;
    },
    body: (): boolean => {
      const part = buffer.subarray(0, missing);
      buffer = buffer.subarray(part.length);
      missing -= part.length;
      parts?.push(part);
      if (missing > 0) return false;
      state = 'header';
      if (parts) body(Buffer.concat(parts));
      parts = undefined;
      return true;
    },
    searching: (): boolean => {
      const next = buffer.indexOf(LENGTH, 0, 'latin1');
      // The next header may have come in part.
      buffer = buffer.subarray(next < 0 ? Math.max(0, buffer.length - LENGTH.length + 1) : next);
      if (next >= 0) state = 'header';
      return next >= 0;
    },
  };

  function pass(problem: string, bytes = 1): true {
    trouble(problem);
    buffer = buffer.subarray(bytes);
    state = 'searching';
    return true;
  }

  return (chunk) => {
    buffer = buffer.length === 0 ? chunk : Buffer.concat([buffer, chunk]);
    while (take[state]());
  };
}

function lengthIn(header: string): number | undefined {
  const lines = header.split('\r\n');
  if (!lines.every((line) => line.startsWith(BEGINNING))) return undefined;
  const found = lines.flatMap((line) => /^Content-Length: *(\d{1,15}) *$/.exec(line)?.[1] ?? []);
  return found.length === 1 ? Number(found[0]) : undefined;
}
