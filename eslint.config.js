import js from '@eslint/js';
import ts from 'typescript-eslint';

/** A folder of the engine may import only from the folders named here (ARCHITECTURE.md, "Invariants"). */
const mayImport = {
  plans: [],
  formats: ['plans'],
  graph: ['formats'],
  runtime: ['graph', 'formats'],
  models: ['graph', 'formats', 'data'],
  data: ['formats'],
  quantized: ['graph', 'models', 'formats', 'plans', 'execution', 'evaluation'],
  execution: ['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'transforms', 'methods'],
  transforms: ['graph', 'runtime', 'models', 'formats', 'data', 'execution'],
  methods: ['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'execution', 'transforms', 'quantized'],
  evaluation: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans'],
    ...['execution', 'transforms', 'quantized', 'methods', 'jobs'],
  ],
  catalog: ['graph', 'models', 'formats', 'data', 'plans', 'protocol'],
  jobs: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol', 'catalog'],
    ...['execution', 'transforms', 'quantized', 'methods', 'evaluation'],
  ],
  sessions: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol', 'jobs'],
    ...['execution', 'transforms', 'quantized', 'methods', 'evaluation'],
  ],
  server: ['models', 'formats', 'catalog', 'jobs', 'plans', 'sessions', 'protocol'],
  protocol: ['formats', 'models', 'plans', 'evaluation', 'jobs', 'runtime'],
};
const folders = Object.keys(mayImport);

const vscodeBan = { name: 'vscode', message: 'The engine runs without an editor.' };
const onnxruntimeBan = {
  group: ['onnxruntime-node', 'onnxruntime-common'],
  message: 'Only engine/runtime talks to ONNX Runtime.',
};
const restrict = (paths, patterns) => ({
  '@typescript-eslint/no-restricted-imports': ['error', { paths, patterns }],
});

export default ts.config(
  { ignores: ['dist/', '.vscode-test/', 'node_modules/', 'test/golden/', 'samples/'] },
  js.configs.recommended,
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
  {
    files: ['**/*.ts'],
    extends: [ts.configs.recommendedTypeChecked, ts.configs.stylistic],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-console': 'error',
      eqeqeq: 'error',
    },
  },
  { files: ['engine/**/*.ts'], rules: restrict([vscodeBan], [onnxruntimeBan]) },
  ...folders.map((folder) => {
    const others = folders.filter((other) => other !== folder && !mayImport[folder].includes(other));
    const reason = `engine/${folder} may import only from: ${mayImport[folder].join(', ') || 'nothing else'}.`;
    return {
      files: [`engine/${folder}/**/*.ts`],
      ignores: ['**/*.test.ts'],
      rules: restrict(
        [vscodeBan],
        [
          ...(folder === 'runtime' ? [] : [onnxruntimeBan]),
          ...(others.length > 0 ? [{ group: others.map((other) => `**/${other}/**`), message: reason }] : []),
          ...(['graph', 'plans'].includes(folder)
            ? [{ group: ['node:*'], message: `engine/${folder} is pure: no files, no processes.` }]
            : []),
        ],
      ),
    };
  }),
  {
    files: ['src/**/*.ts'],
    ignores: ['src/common/vscode.ts'],
    rules: restrict(
      // Named imports are no namespace, and allowed.
      [{ name: 'vscode', importNames: ['default'], message: 'Import { vscode } from common/vscode.js.' }],
      [
        onnxruntimeBan,
        {
          // `src/engine` is the extension's own: the client.
          regex: '/engine/(?!(protocol/protocol|client|error|locate|plans/\\w+)\\.js$)',
          message: 'The extension speaks to the engine through engine/protocol, and shares plans with it.',
        },
      ],
    ),
  },
  {
    files: ['webview/**/*.ts'],
    rules: restrict(
      [vscodeBan],
      [
        onnxruntimeBan,
        { group: ['node:*', '**/src/**'], message: 'A webview sees messages only.' },
        { regex: '/engine/(?!plans/)', message: 'A webview shares engine/plans alone with the engine.' },
      ],
    ),
  },
);
