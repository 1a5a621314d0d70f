import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import * as json from './json.js';
import { complaint, useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();
const { parseJsonStrict } = json;

describe('parseJsonStrict', () => {
  it.each([
    'null',
    ' [1, -0.5e-3, 0, 12E+2, true, false, null] ',
    '{"a":{"b":[{"c":"d"}]},"":[],"constructor":{}}',
    '"\\u00e9\\n\\\\ \\" / é 𝄞 \\ud834\\udd1e"',
    '\r\n\t{ "a" : [ ] }\n',
  ])('agrees with JSON.parse on %s', (text) => {
    expect(parseJsonStrict(text, 'x')).toEqual(JSON.parse(text));
  });

  it.each([
    ['{"a":1,"b":{"c":1,"c":2}}', 'x: the key "c" appears twice at line 1, column 19.'],
    ['{"a":1,"\\u0061":2}', 'x: the key "a" appears twice at line 1, column 8.'],
    ['[{"__proto__":1}]', 'x: the key "__proto__" is not allowed at line 1, column 3.'],
    ['{\n "a": tru }', 'x: unexpected "t" in the JSON at line 2, column 7.'],
    ['{"a":1,}', 'x: unexpected "}" in the JSON at line 1, column 8.'],
    ['[1,]', 'x: unexpected "]" in the JSON at line 1, column 4.'],
    ['[1 2]', 'x: unexpected "2" in the JSON at line 1, column 4.'],
    ['{"a"', 'x: the JSON ends too early at line 1, column 5.'],
    ['"abc', 'x: the JSON ends too early at line 1, column 5.'],
    ['"abc\\', 'x: the JSON ends too early at line 1, column 6.'],
    ['"a\nb"', 'x: unexpected "\\n" in the JSON at line 1, column 3.'],
    ['"\\x"', 'x: invalid escape in the string at line 1, column 1.'],
    ['', 'x: the JSON ends too early at line 1, column 1.'],
    ['1 1', 'x: unexpected "1" in the JSON at line 1, column 3.'],
    ['01', 'x: invalid number "01" at line 1, column 1.'],
    ['1e999', 'x: invalid number "1e999" at line 1, column 1.'],
    ['[NaN]', 'x: unexpected "N" in the JSON at line 1, column 2.'],
    ["{'a':1}", 'x: unexpected "\'" in the JSON at line 1, column 2.'],
  ])('refuses %j', async (text, message) => {
    expect(await complaint(() => parseJsonStrict(text, 'x'))).toBe(message);
  });

  it('refuses deep nesting and endless digits without exhausting anything', async () => {
    expect(await complaint(() => parseJsonStrict('['.repeat(1e6), 'x'))).toContain('nested deeper than 100');
    expect(await complaint(() => parseJsonStrict('1'.repeat(1e6), 'x'))).toContain('invalid number');
  });
});

describe('readJsonFile', () => {
  it('refuses a large file, invalid UTF-8, a folder and a missing file', async () => {
    await writeFile(at('a.json'), '[1,2,3]');
    expect(await json.readJsonFile(at('a.json'))).toEqual([1, 2, 3]);
    expect(await complaint(() => json.readJsonFile(at('a.json'), { maxBytes: 6 }))).toBe(
      'a.json: 7 bytes, more than the 6 allowed.',
    );
    await writeFile(at('b.json'), Buffer.from([0x22, 0xff, 0x22]));
    expect(await complaint(() => json.readJsonFile(at('b.json')))).toBe('b.json: not valid UTF-8 text.');
    expect(await complaint(() => json.readJsonFile(at()))).toContain('it is not a file');
    expect(await complaint(() => json.readJsonFile(at('c.json')))).toContain('no such file or folder');
  });
});

describe('typed access', () => {
  const object = json.expectObject(
    parseJsonStrict('{"n":2.5,"i":7,"t":"abc","b":false,"l":[1,2],"z":null,"o":{"k":[]}}', 'x'),
    'x',
  );

  it('returns what is there, and defaults for what is missing or null', () => {
    expect(json.expectInteger(object, 'i', 'x', { min: 7, max: 7 })).toBe(7);
    expect(json.expectInteger(object, 'z', 'x', { default: 3 })).toBe(3);
    expect(json.expectNumber(object, 'n', 'x')).toBe(2.5);
    expect(json.expectString(object, 't', 'x', { oneOf: ['abc', 'def'] })).toBe('abc');
    expect(json.expectBoolean(object, 'missing', 'x', { default: true })).toBe(true);
    expect(json.expectNumberArray(object, 'l', 'x', { integer: true, length: 2, max: 2 })).toEqual([1, 2]);
  });

  it('does not see the prototype', async () => {
    expect(await complaint(() => json.expectObjectAt({}, 'constructor', 'x'))).toContain('but is missing');
  });

  it.each([
    [() => json.expectInteger(object, 't', 'c', { min: 1 }), '"t" must be a positive integer, found "abc".'],
    [
      () => json.expectInteger(object, 'n', 'c', { min: 0 }),
      '"n" must be an integer of 0 or more, found 2.5.',
    ],
    [
      () => json.expectInteger(object, 'i', 'c', { min: 2, max: 5 }),
      '"i" must be an integer from 2 to 5, found 7.',
    ],
    [() => json.expectInteger(object, 'none', 'c'), '"none" must be an integer, but is missing.'],
    [() => json.expectNumber(object, 'i', 'c', { max: 1 }), '"i" must be a number of at most 1, found 7.'],
    [
      () => json.expectString(object, 't', 'c', { oneOf: ['a', 'b'] }),
      '"t" must be one of "a", "b", found "abc".',
    ],
    [() => json.expectBoolean(object, 'i', 'c'), '"i" must be true or false, found 7.'],
    [
      () => json.expectNumberArray(object, 'l', 'c', { length: 3 }),
      '"l" must be a list of 3 numbers, found [1,2].',
    ],
  ])('explains what is wrong (%#)', async (action, message) => {
    expect(await complaint(action)).toBe(`c: ${message}`);
  });
});

describe('a text of many values', () => {
  it.each([
    ['lists', `[${'[],'.repeat(600_000)}[]]`],
    ['objects', `[${'{},'.repeat(300_000)}{}]`],
    ['numbers', `[${'1,'.repeat(1_100_000)}1]`],
  ])('is refused before they fill the memory: %s', async (_, text) => {
    expect(await complaint(() => parseJsonStrict(text, 'x'))).toMatch(
      /^x: the JSON has more values than are supported, at line 1, column \d+\.$/,
    );
  });
});
