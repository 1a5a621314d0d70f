import { expect, it } from 'vitest';
import { parseHubName } from './hub-name.js';

it.each([
  ['org/name', { model: 'org/name' }],
  [' org/name-1.5B ', { model: 'org/name-1.5B' }],
  ['gpt2', { model: 'gpt2' }],
  ['org/name@refs/pr/1', { model: 'org/name', revision: 'refs/pr/1' }],
  ['https://huggingface.co/org/name', { model: 'org/name' }],
  ['https://huggingface.co/org/name/tree/v1.0/', { model: 'org/name', revision: 'v1.0' }],
])('%j is %j', (text, name) => expect(parseHubName(text)).toEqual(name));

it.each([
  '',
  'a b',
  'a/b/c',
  '../x',
  '/etc/passwd',
  'https://huggingface.co/datasets/org/name',
  'org/name@',
  'a/b@x y',
])('%j is none', (text) => expect(parseHubName(text)).toBeUndefined());
