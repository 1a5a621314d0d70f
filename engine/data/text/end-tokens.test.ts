import { expect, test } from 'vitest';
import { endTokens } from './end-tokens.js';
import { folderOf, unitTokenizer } from './testing.js';

test('texts end where generation_config.json says, or else config.json, or else the tokenizer', async () => {
  const tokenizer = { ...unitTokenizer, eos: 7 };
  const cases: [Record<string, object | string>, number[]][] = [
    [{}, [7]],
    [{ 'config.json': { eos_token_id: null }, 'generation_config.json': {} }, [7]],
    [{ 'config.json': { eos_token_id: 5 } }, [5]],
    [{ 'config.json': { eos_token_id: 5 }, 'generation_config.json': { eos_token_id: [1, 3] } }, [1, 3]],
    [{ 'config.json': '{"eos_token_id": 5, "limit": Infinity}' }, [5]],
    [{ 'generation_config.json': '{"eos_token_id": 1, "penalty": NaN, "eos_token_id": 3}' }, [3]],
  ];
  for (const [files, ids] of cases)
    expect([...(await endTokens(await folderOf(files), tokenizer))]).toEqual(ids);
  const damaged = await folderOf({ 'generation_config.json': { eos_token_id: ['</s>'] } });
  await expect(endTokens(damaged, tokenizer)).rejects.toThrow(
    'generation_config.json: "eos_token_id" must be a token\'s id or a list of them, found ["</s>"].',
  );
});
