/** The licences of other people's code that a package carries, as one text. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * @param {string} root the folder whose node_modules holds the packages
 * @param {readonly string[]} names of packages
 */
export async function collectLicenses(root, names) {
  const parts = await Promise.all(
    [...new Set(names)].sort().map((name) => licenseOf(join(root, 'node_modules', name), name)),
  );
  return `${parts.join(`\n${'='.repeat(80)}\n\n`)}`;
}

async function licenseOf(folder, name) {
  // Of a package for another platform only the name is known here; its licence is in its own folder.
  const manifest = await readFile(join(folder, 'package.json'), 'utf8').then(JSON.parse, () => undefined);
  if (!manifest) return `${name}\n`;
  const files = (await readdir(folder)).filter((file) => /^(licen[cs]e|notice|third-?party)/i.test(file));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return [`${name} ${manifest.version} (${manifest.license})\n`, ...texts].join('\n');
}
