/** What clients are told of the methods. */
import { openCheckpoint } from '../models/checkpoint.js';
import type { MethodReport } from '../protocol/protocol.js';
import { listOptions } from './options.js';
import { methods } from './registry.js';

/** The methods that have something for the checkpoint in a folder. Throws UserError where it is not supported. */
export async function methodsFor(folder: string): Promise<MethodReport[]> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return methods
      .map(({ name, words, recipes, options, modes }) => ({
        name,
        title: words.title,
        description: words.description,
        modes: modes(checkpoint),
        recipes,
        options: listOptions(options).map(([key, option]) => ({
          name: key,
          help: option.help,
          value: option.value,
          ...(option.choices && { choices: option.choices }),
          ...(option.standard !== undefined && { standard: option.standard }),
        })),
      }))
      .filter((report) => report.modes.length > 0);
  } finally {
    await checkpoint.close();
  }
}
