/** The engine's process: how it is met, what it tells of itself, and its errors. */
import type { JobKind } from './jobs.js';

/** Raised with every change that an older peer would misread. The handshake refuses another. */
export const PROTOCOL_VERSION = 2;

/** Codes of error responses. The first five are JSON-RPC's own, the sixth is that of the language server protocol. */
export const ErrorCode = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  /** The parameters do not have the shape this file gives them; the message says where. */
  invalidParams: -32602,
  /** A defect of the engine; its stack is in the log. */
  internalError: -32603,
  /** The client cancelled the request with `$/cancelRequest`. */
  requestCancelled: -32800,
  /** Anything but `initialize` and `ping` before it, or `initialize` twice. */
  notInitialized: -32002,
  /** Something a person can mend: the message is one line for them. */
  userError: 1,
  /** `initialize` with another protocol version. */
  versionMismatch: 2,
} as const;

export interface InitializeParams {
  readonly protocolVersion: number;
  /** A folder of the client's for records and logs of jobs, made if need be. Several engines may share it. */
  readonly storage: string;
  /** The engine ends when this process is gone. */
  readonly hostProcess: number;
}

export interface InitializeResult {
  readonly protocolVersion: number;
  readonly engineVersion: string;
  readonly capabilities: Capabilities;
}

export interface Capabilities {
  readonly jobs: readonly JobKind[];
  /** Model families, by `model_type`. */
  readonly families: readonly string[];
}

export interface LogMessage {
  readonly level: 'debug' | 'info' | 'warning' | 'error';
  readonly message: string;
}

export interface Health {
  readonly health: 'ok' | 'warning' | 'error';
  /** Nothing is running or queued. */
  readonly quiescent: boolean;
  /** One line, where there is something to say. */
  readonly message?: string;
}
