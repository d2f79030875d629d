import { expect, test } from 'vitest';
import { createInstallId, createOpId, createVmId, isInstallId, isVmId } from './ids.ts';
import { generateName, isName, nameIssues } from './names.ts';

test.each(['a', '0', 'devbox', 'a-b', 'a--b', '9lives', 'x'.repeat(63)])('takes %s', (name) => {
  expect(nameIssues(name)).toEqual([]);
});

test.each(['', 'x'.repeat(64), '-a', 'a-', 'Bad_Name', 'a.b', 'a b', 'ä', 'a/b', '..', 'a\n'])('refuses %j', (name) => {
  expect(nameIssues(name)).not.toEqual([]);
});

test('says everything that is wrong with a name at once', () => {
  expect(nameIssues('-Bad_')).toEqual([
    { path: 'name', message: 'may hold a-z, 0-9 and - only, not "B" "_"' },
    { path: 'name', message: 'must not begin or end with -' },
  ]);
});

test('generates good names that are free', () => {
  const taken = new Set<string>();
  for (let n = 0; n < 300; n += 1) {
    const name = generateName((candidate) => taken.has(candidate));
    expect(isName(name)).toBe(true);
    expect(taken.has(name)).toBe(false);
    taken.add(name);
  }
});

test('adds a number when the words run out', () => {
  const first = generateName(() => false, () => 0);
  expect(generateName((name) => name === first || name === `${first}-2`, () => 0)).toBe(`${first}-3`);
});

test('makes ids of the promised shape', () => {
  expect(isVmId(createVmId())).toBe(true);
  expect(isInstallId(createInstallId())).toBe(true);
  expect(createOpId()).toMatch(/^op-[a-z2-7]{8}$/);
  expect(new Set(Array.from({ length: 1000 }, createVmId)).size).toBe(1000);
});
