/** The colours of the editor's own themes that a page uses, so that it can be looked at without an editor. */
export type Theme = 'dark' | 'light' | 'contrast' | 'contrast-light';

const css = (colours: Readonly<Record<string, string>>): string =>
  `:root { --vscode-font-family: sans-serif; --vscode-font-size: 13px; --vscode-font-weight: normal; ${Object.entries(
    colours,
  )
    .map(([name, value]) => `--vscode-${name}: ${value};`)
    .join(' ')} } body { background: var(--vscode-editor-background); }`;

export const themes: Readonly<Record<Theme, { readonly className: string; readonly css: string }>> = {
  dark: {
    className: 'vscode-dark',
    css: css({
      ...{ 'dropdown-background': '#313131', 'dropdown-foreground': '#cccccc', 'dropdown-border': '#3c3c3c' },
      ...{ 'checkbox-background': '#313131', 'checkbox-foreground': '#cccccc', 'checkbox-border': '#3c3c3c' },
      ...{ foreground: '#cccccc', 'editor-background': '#1f1f1f', 'editor-foreground': '#cccccc' },
      ...{ descriptionForeground: '#9d9d9d', disabledForeground: '#cccccc80', focusBorder: '#0078d4' },
      ...{ 'editorWidget-background': '#202020', 'widget-border': '#313131', 'panel-border': '#2b2b2b' },
      ...{ 'charts-orange': '#d18616', 'charts-blue': '#3794ff', 'charts-green': '#89d185' },
      ...{ 'list-hoverBackground': '#2a2d2e', 'list-activeSelectionBackground': '#04395e' },
      ...{ 'list-activeSelectionForeground': '#ffffff', 'list-inactiveSelectionBackground': '#37373d' },
      ...{ 'input-background': '#313131', 'input-foreground': '#cccccc', 'input-border': '#3c3c3c' },
      ...{ 'button-background': '#0078d4', 'button-foreground': '#ffffff', 'textLink-foreground': '#4daafc' },
      ...{ 'button-secondaryBackground': '#313131', 'button-secondaryForeground': '#cccccc' },
      ...{ 'inputValidation-errorBackground': '#5a1d1d', 'inputValidation-errorBorder': '#be1100' },
      ...{ 'inputValidation-infoBackground': '#063b49', 'inputValidation-infoBorder': '#007acc' },
      ...{ 'progressBar-background': '#0078d4', 'editorWidget-border': '#454545' },
      'editorWarning-foreground': '#cca700',
    }),
  },
  light: {
    className: 'vscode-light',
    css: css({
      ...{ 'dropdown-background': '#ffffff', 'dropdown-foreground': '#3b3b3b', 'dropdown-border': '#cecece' },
      ...{ 'checkbox-background': '#f8f8f8', 'checkbox-foreground': '#3b3b3b', 'checkbox-border': '#cecece' },
      ...{ foreground: '#3b3b3b', 'editor-background': '#ffffff', 'editor-foreground': '#3b3b3b' },
      ...{ descriptionForeground: '#717171', disabledForeground: '#61616180', focusBorder: '#005fb8' },
      ...{ 'editorWidget-background': '#f8f8f8', 'widget-border': '#e5e5e5', 'panel-border': '#e5e5e5' },
      ...{ 'charts-orange': '#d18616', 'charts-blue': '#1a85ff', 'charts-green': '#388a34' },
      ...{ 'list-hoverBackground': '#f2f2f2', 'list-activeSelectionBackground': '#e8e8e8' },
      ...{ 'list-activeSelectionForeground': '#000000', 'list-inactiveSelectionBackground': '#e4e6f1' },
      ...{ 'input-background': '#ffffff', 'input-foreground': '#3b3b3b', 'input-border': '#cecece' },
      ...{ 'button-background': '#005fb8', 'button-foreground': '#ffffff', 'textLink-foreground': '#005fb8' },
      ...{ 'button-secondaryBackground': '#e5e5e5', 'button-secondaryForeground': '#3b3b3b' },
      ...{ 'inputValidation-errorBackground': '#f2dede', 'inputValidation-errorBorder': '#be1100' },
      ...{ 'inputValidation-infoBackground': '#d6ecf2', 'inputValidation-infoBorder': '#007acc' },
      ...{ 'progressBar-background': '#005fb8', 'editorWidget-border': '#c8c8c8' },
      'editorWarning-foreground': '#bf8803',
    }),
  },
  contrast: {
    className: 'vscode-high-contrast',
    css: css({
      ...{ foreground: '#ffffff', 'editor-background': '#000000', 'editor-foreground': '#ffffff' },
      ...{ descriptionForeground: '#ffffffb3', focusBorder: '#f38518', contrastBorder: '#6fc3df' },
      ...{ contrastActiveBorder: '#f38518', 'editorWidget-background': '#0c141f' },
      ...{ 'charts-orange': '#ea5c00', 'charts-blue': '#3794ff', 'charts-green': '#89d185' },
      ...{ 'input-background': '#000000', 'input-foreground': '#ffffff', 'input-border': '#6fc3df' },
      ...{ 'widget-border': '#6fc3df', 'textLink-foreground': '#21a6ff' },
      ...{ 'progressBar-background': '#6fc3df', 'editorWidget-border': '#6fc3df' },
      'editorWarning-foreground': '#ffd370',
    }),
  },
  'contrast-light': {
    className: 'vscode-high-contrast-light vscode-high-contrast',
    css: css({
      ...{ foreground: '#292929', 'editor-background': '#ffffff', 'editor-foreground': '#292929' },
      ...{ descriptionForeground: '#292929b3', focusBorder: '#006bbd', contrastBorder: '#0f4a85' },
      ...{ contrastActiveBorder: '#006bbd', 'editorWidget-background': '#ffffff' },
      ...{ 'dropdown-background': '#ffffff', 'dropdown-foreground': '#292929', 'dropdown-border': '#0f4a85' },
      ...{ 'charts-orange': '#b5200d', 'charts-blue': '#1a85ff', 'charts-green': '#374e06' },
      ...{ 'list-hoverBackground': '#0f4a851a', 'list-activeSelectionBackground': '#0f4a851a' },
      ...{ 'input-background': '#ffffff', 'input-foreground': '#292929', 'input-border': '#0f4a85' },
      ...{ 'widget-border': '#0f4a85', 'textLink-foreground': '#0f4a85' },
      ...{ 'progressBar-background': '#0f4a85', 'editorWidget-border': '#0f4a85' },
      'editorWarning-foreground': '#895503',
    }),
  },
};
