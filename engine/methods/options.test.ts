import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import {
  choice,
  kebab,
  onOrOff,
  readOptions,
  realNumber,
  refuseOption,
  wholeNumber,
  wholeNumbers,
  type MethodOptions,
} from './options.js';

interface Given {
  readonly epochs?: number;
  readonly keep?: number;
  readonly rank?: number | readonly number[];
  readonly loss?: 'mae' | 'mse';
  readonly guard?: 'on' | 'off';
}
const options: MethodOptions<Given> = {
  epochs: wholeNumber({ help: 'passes' }, 1),
  keep: realNumber({ help: 'share' }, 0, 1),
  rank: wholeNumbers({ help: 'directions' }, 0),
  loss: choice({ help: 'loss' }, 'mae', 'mse'),
  guard: onOrOff({ help: 'guard' }),
};

describe('what was typed', () => {
  it.each<[keyof Given, string, unknown]>([
    ['epochs', '1', 1],
    ['epochs', '20', 20],
    ['keep', '0', 0],
    ['keep', '0.5', 0.5],
    ['keep', '1e-1', 0.1],
    ['rank', '16', 16],
    ['rank', '16,32,0', [16, 32, 0]],
    ['loss', 'mse', 'mse'],
    ['guard', 'off', 'off'],
  ])('for %s, "%s", is what a request may carry', (key, text, value) => {
    const parsed = options[key].parse(text);
    expect(parsed).toEqual(value);
    expect(readOptions(options, { [key]: parsed }, 'options')).toEqual({ [key]: value });
  });

  it.each<[keyof Given, string, string]>([
    ['epochs', '0', 'Must be an integer of at least 1.'],
    ['epochs', '1.5', 'Must be an integer of at least 1.'],
    ['epochs', '', 'Must be an integer of at least 1.'],
    ['epochs', '1e3', 'Must be an integer of at least 1.'],
    ['keep', '1.1', 'Must be from 0 to 1.'],
    ['keep', '-0.1', 'Must be from 0 to 1.'],
    ['keep', ' ', 'Must be from 0 to 1.'],
    ['keep', 'half', 'Must be from 0 to 1.'],
    ['rank', '16,', 'Must be an integer of at least 0.'],
    ['loss', 'l1', 'Must be one of mae, mse.'],
    ['guard', 'yes', 'Must be one of on, off.'],
  ])('for %s, "%s", is refused', (key, text, message) => {
    expect(() => options[key].parse(text)).toThrow(UserError);
    expect(() => options[key].parse(text)).toThrow(message);
  });
});

describe('readOptions', () => {
  it('takes what is there, and nothing that is not an option', () => {
    expect(readOptions(options, {}, 'options')).toEqual({});
    expect(() => readOptions(options, { epoch: 3 }, 'options of quept')).toThrow(/^options of quept: /);
    expect(() => readOptions(options, { keep: 2 }, 'options of quept')).toThrow(/^options of quept: /);
    expect(() => readOptions(options, { rank: [] }, 'options')).toThrow(UserError);
  });
});

it('names a refused option as it is typed', () => {
  expect(kebab('clipStart')).toBe('clip-start');
  expect(() => refuseOption({ kvBits: 4 }, 'kvBits', 'there is no cache')).toThrow(
    'The option --kv-bits would have no effect: there is no cache.',
  );
  expect(() => refuseOption({}, 'kvBits', 'there is no cache')).not.toThrow();
});
