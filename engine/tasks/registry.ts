/** From what a model is for to a task. A new task is one file and one line here. */
import { UserError } from '../errors.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { sideInputsOf } from '../models/model.js';
import { imageClassification } from './image-classification.js';
import type { Task } from './task.js';
import { textGeneration } from './text-generation.js';

export const tasks: readonly Task[] = [imageClassification, textGeneration];

/**
 * The task of a model. Throws UserError, before any work, for a model whose side inputs the task does not have, and for a
 * length of samples that have none.
 */
export function taskOf(
  { name, model }: Pick<Checkpoint, 'name' | 'model'>,
  { length }: { readonly length?: number } = {},
  known: readonly Task[] = tasks,
): Task {
  const task = known.find((one) => one.name === model.task);
  if (!task) throw new UserError(`${name} is for "${model.task}", which can be listed and no more.`);
  if (length !== undefined && !task.hasLength)
    throw new UserError(`--length is of text; ${name} is ${task.words.model}.`);
  const lacking = sideInputsOf(model).filter((input) => !task.feeds?.includes(input));
  if (lacking.length > 0)
    throw new UserError(
      `${name} reads ${lacking.map((input) => `"${input}"`).join(', ')} beside ${task.words.data}, which no data comes with yet.`,
    );
  return task;
}
