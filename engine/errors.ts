/**
 * An error meant for a person: one line that says what is wrong, where, and what to do.
 * Fronts print its message alone; any other error is a defect and keeps its stack for the log.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** Thrown at the next safe point after a job was asked to stop. */
export class CancelledError extends Error {
  override readonly name = 'CancelledError';
  constructor() {
    super('Cancelled.');
  }
}

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
