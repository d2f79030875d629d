import { describe, expect, test } from 'vitest';
import { lastName, meansContents, parseOperand } from './operand.ts';
import { planCopy } from './plan.ts';

describe('operands', () => {
  test.each([
    ['-', { kind: 'stream' }],
    ['file', { kind: 'host', path: 'file' }],
    ['/a:b', { kind: 'host', path: '/a:b' }],
    ['./a:b', { kind: 'host', path: './a:b' }],
    ['../a:b', { kind: 'host', path: '../a:b' }],
    ['.hidden:b', { kind: 'host', path: '.hidden:b' }],
    ['dir/a:b', { kind: 'host', path: 'dir/a:b' }],
    ['devbox:', { kind: 'guest', ref: 'devbox', path: '.' }],
    ['devbox:a/b', { kind: 'guest', ref: 'devbox', path: 'a/b' }],
    ['devbox:/a:b', { kind: 'guest', ref: 'devbox', path: '/a:b' }],
    ['devbox:-', { kind: 'guest', ref: 'devbox', path: '-' }],
  ])('%s', (word, operand) => expect(parseOperand(word)).toEqual(operand));

  test.each(['', ':path'])('%j is refused', (word) => expect(() => parseOperand(word)).toThrow(/empty|names no VM/));

  test.each(['.', '..', 'a/.', 'a/..', 'a/./', '/', '//'])('%s means what is in it', (path) => expect(meansContents(path)).toBe(true));
  test.each([['a', 'a'], ['/a/b/', 'b'], ['.a', '.a'], ['a..', 'a..'], ['...', '...']])('%s means itself', (path, name) => {
    expect([meansContents(path), lastName(path)]).toEqual([false, name]);
  });
});

describe('the plan', () => {
  const plan = (source: string, target: string, more: object = {}) => planCopy({ source: parseOperand(source), target: parseOperand(target), user: undefined, owners: true, isRoot: true, ...more });

  test('into a guest: the tree keeps its name, owners and devices', () => {
    expect(plan('src/tree', 'devbox:/srv', { user: 'dev' })).toEqual({
      source: { on: 'host', words: ['send', '--', 'src/tree'] },
      target: { on: 'guest', params: { ref: 'devbox', direction: 'in', path: '/srv', owners: true, user: 'dev', name: 'tree', devices: true, direct: true } },
    });
  });
  test('out of a guest: the name is the one asked for, and no device nodes', () => {
    expect(plan('devbox:/etc/', '.')).toEqual({
      source: { on: 'guest', params: { ref: 'devbox', direction: 'out', path: '/etc/', direct: true } },
      target: { on: 'host', words: ['receive', '--name', 'etc', '--owners', '--', '.'] },
    });
    expect(plan('devbox:/etc', '.', { owners: false }).target).toEqual({ on: 'host', words: ['receive', '--name', 'etc', '--', '.'] });
    expect(plan('devbox:/etc', '.', { isRoot: false }).target).toEqual({ on: 'host', words: ['receive', '--name', 'etc', '--', '.'] });
  });
  test('contents have no name of their own', () => {
    expect(plan('devbox:/etc/.', 'out')).toEqual({
      source: { on: 'guest', params: { ref: 'devbox', direction: 'out', path: '/etc/.', contents: true, direct: true } },
      target: { on: 'host', words: ['receive', '--owners', '--', 'out'] },
    });
  });
  test('between guests another guest makes no device nodes', () => {
    expect(plan('one:/a', 'two:')).toEqual({
      source: { on: 'guest', params: { ref: 'one', direction: 'out', path: '/a' } },
      target: { on: 'guest', params: { ref: 'two', direction: 'in', path: '.', owners: true, name: 'a' } },
    });
  });
  test('streams go into a directory, and come out as they are', () => {
    expect(plan('-', 'devbox:/srv')).toEqual({
      source: { on: 'stream' }, target: { on: 'guest', params: { ref: 'devbox', direction: 'in', path: '/srv', owners: true, place: 'into', devices: true } },
    });
    expect(plan('devbox:/srv', '-').target).toEqual({ on: 'stream' });
  });
  test.each([['a', 'b', 'Neither path is in a VM'], ['-', 'b', 'A tar stream needs a VM'], ['a', '-', 'A tar stream needs a VM'], ['-', '-', 'A tar stream needs a VM']])('%s to %s is refused', (source, target, text) => {
    expect(() => plan(source, target)).toThrow(text);
  });
});
