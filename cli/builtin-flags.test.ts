import { expect, test } from 'vitest';
import { builtinPlugins } from '../plugins/index.ts';
import { builtinFlags } from './builtin-flags.ts';

test('the flags are those that the built-in plugins have for vm run', () => {
  const flags = builtinPlugins.flatMap(({ name, spec }) => (spec?.flags ?? []).map((flag) => ({ ...flag, section: name })));
  expect(builtinFlags).toEqual(flags.filter((flag) => flag.verbs.includes('run')));
});
