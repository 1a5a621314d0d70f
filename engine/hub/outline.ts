/** The beginnings of a model's weights, which say what it is before it is downloaded. */
import { UserError } from '../errors.js';
import { MAX_HEADER_BYTES } from '../formats/safetensors.js';
import type { HubClient } from './client.js';
import type { HubId } from './id.js';
import type { HubFile, HubListing } from './listing.js';

/** Holds the header of most files, so that one request is enough. */
const BEGINNING = 256 << 10;
const AT_ONCE = 4;

/** The JSON header of a file of weights. */
export interface WeightsHeader {
  readonly name: string;
  readonly header: Uint8Array;
  /** Of the whole file. */
  readonly bytes: number;
}

/** Of all listed weights. Throws UserError for a file that begins otherwise. */
export async function headersOf(client: HubClient, { id, files }: HubListing): Promise<WeightsHeader[]> {
  const weights = files.filter(({ name }) => name.endsWith('.safetensors'));
  const headers = new Map<HubFile, Uint8Array>();
  const waiting = [...weights];
  const work = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift())
      headers.set(file, await headerOf(client, id, file));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return weights.map((file) => ({ name: file.name, header: headers.get(file)!, bytes: file.bytes }));
}

async function headerOf(client: HubClient, id: HubId, file: HubFile): Promise<Uint8Array> {
  const wrong = () => new UserError(`${file.name} of ${id.model} does not begin as a safetensors file.`);
  if (file.bytes < 8) throw wrong();
  const first = await beginning(client, id, file, Math.min(BEGINNING, file.bytes));
  const length = Number(first.readBigUInt64LE(0));
  const end = 8 + length;
  if (length > MAX_HEADER_BYTES || end > file.bytes) throw wrong();
  const bytes = end <= first.length ? first : await beginning(client, id, file, end);
  return bytes.subarray(8, end);
}

async function beginning(client: HubClient, id: HubId, file: HubFile, length: number): Promise<Buffer> {
  const { bytes } = await client.read(file.url, id, length, `bytes=0-${length - 1}`);
  if (bytes.length !== length)
    throw new UserError(
      `${file.name} of ${id.model} cannot be looked into: the server sends no part of a file.`,
    );
  return bytes;
}
