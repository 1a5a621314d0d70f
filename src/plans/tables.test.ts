import { expect, it } from 'vitest';
import { createEmitter } from '../common/event.js';
import { fakeConnection } from '../common/testing.js';
import { createTables } from './tables.js';
import { table } from './testing.js';

it('asks once for a model and set, again after a change, and again after a failure', async () => {
  let fails = false;
  const connection = fakeConnection({
    'precision/describe': () => {
      if (fails) throw new Error('gone');
      return table;
    },
  });
  const stale = createEmitter<void>();
  const tables = createTables(connection, [stale.event], () => true);
  let changes = 0;
  tables.onDidChange(() => changes++);
  await Promise.all([tables.get('/m', '/m/a'), tables.get('/m', '/m/a'), tables.get('/m', undefined)]);
  expect(connection.requests.map(({ params }) => params)).toEqual([
    { model: '/m', adapters: '/m/a' },
    { model: '/m' },
  ]);
  stale.fire();
  fails = true;
  await expect(tables.get('/m', '/m/a')).rejects.toThrow('gone');
  fails = false;
  expect(await tables.get('/m', '/m/a')).toBe(table);
  expect([connection.requests.length, changes]).toEqual([4, 1]);
});

it('asks nothing, and so starts no engine, until the folder is trusted', async () => {
  const connection = fakeConnection({ 'precision/describe': () => table });
  const granted = createEmitter<void>();
  let trusted = false;
  const tables = createTables(connection, [granted.event], () => trusted);
  let changes = 0;
  tables.onDidChange(() => changes++);
  expect(tables.get('/m/../../private', undefined)).toBeUndefined();
  expect(connection.requests).toEqual([]);
  trusted = true;
  granted.fire();
  expect(changes).toBe(1);
  expect(await tables.get('/m', undefined)).toBe(table);
});
