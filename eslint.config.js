import { existsSync, readdirSync } from 'node:fs';
import js from '@eslint/js';
import ts from 'typescript-eslint';

/**
 * A module of the engine (a folder, the file of its name beside it, or that file alone) may import only from the modules
 * named here (ARCHITECTURE.md, "Invariants").
 */
const mayImport = {
  protocol: [],
  errors: [],
  version: [],
  'time-left': [],
  divergence: [],
  plans: ['protocol'],
  formats: ['plans', 'protocol'],
  locks: ['formats'],
  graph: ['formats'],
  hub: ['formats', 'locks', 'plans', 'version'],
  entry: ['runtime'],
  runtime: ['graph', 'formats', 'protocol', 'entry'],
  models: ['graph', 'formats', 'data', 'protocol'],
  data: ['formats', 'entry'],
  quantized: ['graph', 'models'],
  execution: ['graph', 'runtime', 'models', 'formats', 'data', 'quantized'],
  transforms: ['graph', 'runtime', 'models', 'formats', 'data', 'execution'],
  backends: ['graph', 'runtime', 'models', 'formats', 'execution', 'quantized'],
  elastic: ['graph', 'runtime', 'formats', 'quantized'],
  methods: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol'],
    ...['execution', 'transforms', 'backends', 'quantized', 'locks', 'elastic'],
  ],
  exporters: [
    'graph',
    'runtime',
    'models',
    'formats',
    'plans',
    'execution',
    'quantized',
    'elastic',
    'transforms',
  ],
  imports: ['graph', 'models', 'formats'],
  tasks: ['runtime', 'models', 'data', 'protocol', 'execution', 'methods', 'evaluation', 'verification'],
  evaluation: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol', 'divergence'],
    ...['execution', 'quantized', 'methods', 'version', 'verification'],
  ],
  verification: ['runtime', 'models', 'formats', 'methods', 'protocol', 'entry'],
  catalog: ['graph', 'models', 'formats', 'data', 'plans', 'protocol', 'methods', 'quantized', 'locks'],
  jobs: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol', 'catalog', 'entry', 'version'],
    ...['execution', 'quantized', 'methods', 'evaluation', 'exporters', 'imports', 'tasks', 'locks'],
    ...['time-left', 'verification', 'hub'],
  ],
  sessions: [
    ...['graph', 'runtime', 'models', 'formats', 'data', 'plans', 'protocol', 'jobs', 'entry', 'divergence'],
    ...['execution', 'quantized', 'methods', 'evaluation', 'tasks'],
  ],
  server: [
    'entry',
    ...['models', 'formats', 'locks', 'catalog', 'jobs', 'methods', 'plans', 'sessions', 'protocol'],
    ...['entry', 'version', 'verification'],
  ],
  cli: [
    'catalog',
    'exporters',
    'formats',
    'hub',
    'imports',
    'jobs',
    'locks',
    'methods',
    'plans',
    'protocol',
    'server',
    'time-left',
    'version',
  ],
  engine: ['protocol', 'server', 'version'],
};
const modules = Object.keys(mayImport);
/** Files in the root of the engine; the other modules are folders. */
const rootFiles = modules.filter((name) => existsSync(new URL(`engine/${name}.ts`, import.meta.url)));
/** They import nothing of the engine. Every other module may import `errors`. */
const leaves = ['protocol', 'errors', 'version', 'time-left', 'divergence'];
const pure = ['graph', 'plans', 'protocol'];
/** What tests of any module use beside what it may import: random numbers, what runs a graph, a divergence, files. */
const forTests = ['data', 'runtime', 'divergence'];
const tests = ['**/*.test.ts', '**/testing.ts'];

/** Each calibration method has a folder, which the registry alone may import from. */
const methodFolders = readdirSync(new URL('engine/methods', import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);
const methodBan = (from, folders) => ({
  regex: `${from}(${folders.join('|')})/`,
  message: 'A method is known to engine/methods/registry.ts alone; methods share files of engine/methods/.',
});

const vscodeBan = { name: 'vscode', message: 'The engine runs without an editor.' };
const onnxruntimeBan = {
  group: ['onnxruntime-node', 'onnxruntime-common'],
  message: 'Only engine/runtime talks to ONNX Runtime.',
};
const markupBan = {
  selector: 'MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]',
  message: 'Text of others is put in as text.',
};
const restrict = (paths, patterns) => ({
  '@typescript-eslint/no-restricted-imports': ['error', { paths, patterns }],
});

/** What a module of the engine may not import, or its tests. */
function bansOf(module, isTest = false) {
  const allowed = [
    module,
    ...mayImport[module],
    ...(leaves.includes(module) ? [] : ['errors']),
    ...(isTest ? forTests : []),
  ];
  const others = modules.filter((other) => !allowed.includes(other));
  const banned = [
    ...others.map((other) => `/${other}/`),
    ...others.filter((other) => rootFiles.includes(other)).map((other) => `^(\\./|(\\.\\./)+)${other}\\.js$`),
  ];
  const message = `engine/${module} may import only from: ${mayImport[module].join(', ') || 'nothing else'}.`;
  return [
    ...(module === 'runtime' ? [] : [onnxruntimeBan]),
    ...(banned.length > 0 ? [{ regex: banned.join('|'), message }] : []),
    ...(pure.includes(module) && !isTest
      ? [{ group: ['node:*'], message: `engine/${module} is pure: no files, no processes.` }]
      : []),
  ];
}

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
  ...modules.flatMap((module) => {
    const folders = methodBan(module === 'methods' ? '^\\./' : '/methods/', methodFolders);
    return [
      {
        files: [`engine/${module}/**/*.ts`, `engine/${module}.ts`],
        ignores: tests,
        rules: restrict([vscodeBan], [...bansOf(module), folders]),
      },
      {
        files: tests.map((name) => `engine/${module}/${name}`),
        rules: restrict([vscodeBan], [...bansOf(module, true), folders]),
      },
    ];
  }),
  {
    files: ['engine/methods/registry.ts'],
    rules: restrict([vscodeBan], bansOf('methods')),
  },
  ...methodFolders.flatMap((folder) => {
    const others = methodFolders.filter((other) => other !== folder);
    const rules = (isTest) =>
      restrict([vscodeBan], [...bansOf('methods', isTest), methodBan('^\\.\\./', others)]);
    return [
      { files: [`engine/methods/${folder}/**/*.ts`], ignores: tests, rules: rules(false) },
      { files: tests.map((name) => `engine/methods/${folder}/${name}`), rules: rules(true) },
    ];
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
    files: ['src/**/*.ts'],
    ignores: ['src/common/messages.ts', '**/*.test.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'MemberExpression[property.name=/^(show(Information|Warning|Error)Message|showInputBox|MarkdownString)$/]',
          message: 'The editor finds links in it that run commands: use common/messages.ts.',
        },
        markupBan,
      ],
    },
  },
  { files: ['webview/**/*.ts'], rules: { 'no-restricted-syntax': ['error', markupBan] } },
  {
    files: ['webview/**/*.ts'],
    rules: restrict(
      [vscodeBan],
      [
        onnxruntimeBan,
        { group: ['node:*', '**/src/**'], message: 'A webview sees messages only.' },
        {
          regex: '/engine/(?!plans/|protocol/protocol\\.js$)',
          message: 'A webview shares engine/plans and the types of engine/protocol with the engine.',
        },
        {
          regex: '/engine/protocol/protocol\\.js$',
          allowTypeImports: true,
          message: 'A webview shares only the types of engine/protocol: import type.',
        },
      ],
    ),
  },
);
