import { expect, it, vi } from 'vitest';
import type { EvaluationRow } from '../../engine/protocol/protocol.js';

const language = vi.hoisted(() => ({ now: 'en' }));
vi.mock('../common/vscode.js', () => ({
  vscode: {
    env: {
      get language() {
        return language.now;
      },
    },
    l10n: {
      t: (text: string, ...args: string[]) => text.replace(/\{(\d)\}/g, (_, i: string) => args[Number(i)]!),
    },
  },
}));
const { headline, scoreOf } = await import('./score.js');

const row = (score: Partial<EvaluationRow>): EvaluationRow => ({
  ...{ label: 'a', kind: 'adapters', bits: 4, bytes: 1, samples: 8 },
  ...score,
});

it('writes scores as the pages do, in the language of the editor', () => {
  const scores = [{ top1: 0.838 }, { accuracy: 0.5 }, { perplexity: 40.6 }, { kl: 0.01 }, {}];
  expect(scores.map((score) => scoreOf(row(score)))).toEqual([
    ...['83.80% top-1', '50.00% correct', 'perplexity 40.60', 'divergence 0.0100', ''],
  ]);
  expect(headline([row({ top1: 0.9, bits: 'fp', kind: 'full' }), row({ top1: 0.838 })])).toBe(
    '83.80% top-1 at 4 bits',
  );
  language.now = 'de';
  expect(scoreOf(row({ top1: 0.838 }))).toBe('83,80\u00a0% top-1');
});
