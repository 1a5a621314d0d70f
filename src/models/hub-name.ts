/** Names of models of a hub, as people type or paste them. */

export interface HubName {
  /** `org/name`. */
  readonly model: string;
  /** A branch, a tag or a commit. */
  readonly revision?: string;
}

const PART = String.raw`[A-Za-z0-9][\w.-]*`;
const NAME = new RegExp(`^(${PART}(?:/${PART})?)(?:@([\\w.+/-]+))?$`);
/** The address of a model's page, or of a version of it. */
const ADDRESS = new RegExp(`^https?://[^/]+/(${PART}/${PART})(?:/tree/([\\w.+/-]+?))?/*$`);

/** `org/name`, `org/name@revision`, or the address of a model's page; undefined for what is none. */
export function parseHubName(text: string): HubName | undefined {
  const [, model, revision] = NAME.exec(text.trim()) ?? ADDRESS.exec(text.trim()) ?? [];
  return model === undefined ? undefined : { model, ...(revision !== undefined && { revision }) };
}
