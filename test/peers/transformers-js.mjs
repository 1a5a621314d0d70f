/** Continues a text in transformers.js: arguments folder, model, its dtype, ids as JSON, how many tokens; prints the new ids as JSON. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, folder, model, dtype, ids, count] = process.argv.slice(2);
const entry = createRequire(join(packages, 'package.json')).resolve('@huggingface/transformers');
const { AutoModelForCausalLM, env, Tensor } = await import(pathToFileURL(entry).href);
env.localModelPath = folder;
env.allowRemoteModels = false;
const given = JSON.parse(ids);
const input_ids = new Tensor('int64', BigInt64Array.from(given, BigInt), [1, given.length]);
const loaded = await AutoModelForCausalLM.from_pretrained(model, { dtype });
const [all] = (
  await loaded.generate({ input_ids, max_new_tokens: Number(count), do_sample: false })
).tolist();
console.log(JSON.stringify(all.slice(given.length).map(Number)));
