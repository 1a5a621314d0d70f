/** The editor's interface, for all modules: bundled, every namespace import of it costs a copy of hundreds of names. */
export * as vscode from 'vscode';
