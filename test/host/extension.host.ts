import assert from 'node:assert/strict';
import * as vscode from 'vscode';

const ID = 'elastic-precision.elastic-precision';

describe('the extension', () => {
  it('is there and activates', async () => {
    const extension = vscode.extensions.getExtension(ID);
    assert.ok(extension);
    await extension.activate();
    assert.equal(extension.isActive, true);
  });

  it('contributes every command that its manifest names', async () => {
    const manifest = vscode.extensions.getExtension(ID)!.packageJSON as {
      contributes: { commands: { command: string }[] };
    };
    const known = new Set(await vscode.commands.getCommands(true));
    const missing = manifest.contributes.commands
      .map(({ command }) => command)
      .filter((name) => !known.has(name));
    assert.deepEqual(missing, []);
  });
});
