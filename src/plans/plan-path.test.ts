import { expect, it } from 'vitest';
import { planPath } from './plan-path.js';

it.each([
  ['/m/vit', '/m/vit.precision.json'],
  ['/m/vit.json', '/m/vit.precision.json'],
  ['/m/vit.precision', '/m/vit.precision.json'],
  ['/m/vit.precision.json', '/m/vit.precision.json'],
  // What simple save dialogs make of it.
  ['/m/vit.precision.json.precision.json', '/m/vit.precision.json'],
  ['/m/vit.precision.json.json', '/m/vit.precision.json'],
  ['/m/v1.5', '/m/v1.5.precision.json'],
])('a plan saved as %s is %s', (named, path) => expect(planPath(named)).toBe(path));
