import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { fingerprintModel } from './fingerprint.js';
import { openSafetensors } from './safetensors.js';
import { writeSafetensors, type SafetensorsEntry } from './safetensors-write.js';
import { useTemporaryFolder } from './testing.js';

const at = useTemporaryFolder();

describe('fingerprintModel', () => {
  const large = new Float32Array(200_000);
  const small = Float32Array.of(1, 2, 3);
  const entries = (change: object = {}): SafetensorsEntry[] => [
    { name: 'large', dtype: 'F32', shape: [200_000], data: large },
    { name: 'small', dtype: 'F32', shape: [3], data: small, ...change },
  ];

  async function fingerprint(tensors: SafetensorsEntry[], text = '{}'): Promise<string> {
    await writeSafetensors(at('x'), tensors, { note: String(tensors.length) });
    const source = await openSafetensors(at('x'));
    try {
      return await fingerprintModel(source, text);
    } finally {
      await source.close();
    }
  }

  it('depends on the content and not on the files', async () => {
    const one = await fingerprint(entries());
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    for (const [name, index] of [
      ['1', 0],
      ['2', 1],
    ] as const)
      await writeSafetensors(at(`${name}.safetensors`), [entries()[index]!]);
    const weight_map = { small: '2.safetensors', large: '1.safetensors' };
    await writeFile(at('i.json'), JSON.stringify({ weight_map }));
    const shards = await openSafetensors(at('i.json'));
    expect(await fingerprintModel(shards, '{}')).toBe(one);
    await shards.close();
  });

  it('changes with the config, a name, a shape, a value', async () => {
    const changed = large.slice();
    changed[199_999] = 1;
    const prints = [
      await fingerprint(entries()),
      await fingerprint(entries(), '{ }'),
      await fingerprint(entries({ name: 'tiny' })),
      await fingerprint(entries({ shape: [3, 1] })),
      await fingerprint(entries({ data: Float32Array.of(1, 2, 4) })),
      await fingerprint([{ ...entries()[0]!, data: changed }, entries()[1]!]),
    ];
    expect(new Set(prints).size).toBe(prints.length);
  });
});
