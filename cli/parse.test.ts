import { cac } from 'cac';
import { describe, expect, test } from 'vitest';
import { BangerError } from '../core/errors.ts';
import { defineCommand, jsonFlag } from './command.ts';
import { parseWords } from './parse.ts';

const command = defineCommand({
  path: ['vm', 'try'], summary: 'Try', args: [{ name: 'ref', required: true }, { name: 'more', variadic: true }], trailing: 'command',
  flags: [
    { name: 'name', type: 'string', summary: '' }, { name: 'vcpu', type: 'integer', summary: '' }, { name: 'env', short: 'e', type: 'list', summary: '' },
    { name: 'rm', type: 'boolean', summary: '' }, { name: 'no-start', type: 'boolean', summary: '' }, { name: 'root-size', type: 'string', summary: '' },
    { name: 'interactive', short: 'i', type: 'boolean', summary: '' }, { name: 'tty', short: 't', type: 'boolean', summary: '' },
    { name: 'user', short: 'u', type: 'string', summary: '' }, jsonFlag,
  ],
  load: async () => ({ default: async () => 0 }),
});
const parse = (...words: string[]): ReturnType<typeof parseWords> => parseWords(command, words);
const refusal = (...words: string[]): BangerError => {
  try {
    parse(...words);
  } catch (error) {
    if (error instanceof BangerError) return error;
    throw error;
  }
  throw new Error('was not refused');
};

describe('the traps of cac', () => {
  test('are there: text becomes a number, a negative value an option', () => {
    const raw = cac('x');
    raw.command('go', '').option('--name <n>', '').option('--cpu <n>', '');
    expect(raw.parse(['node', 'x', 'go', '--name', '007'], { run: false }).options['name']).toBe(7);
    expect(raw.parse(['node', 'x', 'go', '--cpu', '-1'], { run: false }).options['cpu']).toBe(true);
    expect(raw.parse(['node', 'x', 'unknown'], { run: false })).toBeDefined();
    expect(raw.matchedCommand?.name).not.toBe('unknown');
  });

  test.each(['007', '1e3', '0x10', '1.0', 'true', 'false', '', ' ', '-', '-1', 'a=b', 'ünïcode', '__proto__'])('text stays as typed: %j', (text) => {
    expect(parse('vm', '--name', text).flags.text('name')).toBe(text);
    expect(parse('vm', `--name=${text}`).flags.text('name')).toBe(text);
    expect(parse('vm', '-u', text).flags.text('user')).toBe(text);
  });

  test.each(['007', '1e3', 'true', 'false', '-'])('arguments stay as typed: %j', (text) => {
    expect(parse(text, '--rm', text).args).toEqual([text, text]);
    expect(parse('--rm', text).args).toEqual([text]);
  });

  test('a switch takes no word with it, wherever it stands', () => {
    const { args, flags } = parse('--rm', 'one', '--no-start', 'two', '-i', 'three');
    expect(args).toEqual(['one', 'two', 'three']);
    expect([flags.on('rm'), flags.on('no-start'), flags.on('interactive'), flags.on('tty')]).toEqual([true, true, true, false]);
  });

  test('negative numbers are values', () => {
    expect(parse('vm', '--vcpu', '-1').flags.integer('vcpu')).toBe(-1);
    expect(parse('vm', '--vcpu=-1').flags.integer('vcpu')).toBe(-1);
    expect(parse('vm', '--vcpu', '010').flags.integer('vcpu')).toBe(10);
  });

  test('a flag that begins with no- is a flag, absent unless given', () => {
    expect(parse('vm').flags.on('no-start')).toBe(false);
    expect(refusal('vm', '--start').message).toContain('--start');
    expect(refusal('vm', '--no-rm').message).toContain('--no-rm');
  });
});

describe('flags', () => {
  test('lists keep every value in order', () => {
    expect(parse('vm', '--env', 'A=1', '-e', 'B=--x', '--env=C=007').flags.list('env')).toEqual(['A=1', 'B=--x', 'C=007']);
    expect(parse('vm', '-e', '1').flags.list('env')).toEqual(['1']);
    expect(parse('vm').flags.list('env')).toEqual([]);
  });

  test('short ones group, the last may take a value', () => {
    const { flags } = parse('vm', '-itu', 'root');
    expect([flags.on('interactive'), flags.on('tty'), flags.text('user')]).toEqual([true, true, 'root']);
    expect(refusal('vm', '-ui', 'root').message).toContain('-u');
  });

  test('the last of a repeated text flag counts', () => {
    expect(parse('vm', '--name', '1', '--name', '02').flags.text('name')).toBe('02');
  });

  test('everything after -- is untouched', () => {
    const words = ['sh', '-c', 'exit 42', '--', '--name', '007', '-1', ''];
    expect(parse('vm', '--root-size', '8G', '--', ...words)).toMatchObject({ args: ['vm'], trailing: words });
    expect(parse('vm', '--', '--help').flags.on('help')).toBe(false);
  });

  test('--help needs no arguments', () => {
    expect(parse('--help').flags.on('help')).toBe(true);
    expect(parse('-h').flags.on('help')).toBe(true);
  });
});

describe('bad usage is one sentence with code bad_request', () => {
  test.each([
    [['vm', '--nmae', 'x'], 'Unknown flag --nmae for banger vm try', 'did you mean --name?'],
    [['vm', '--colour=red'], 'Unknown flag --colour for banger vm try', 'banger vm try --help lists the flags'],
    [['vm', '-x'], 'Unknown flag -x for banger vm try', 'banger vm try --help lists the flags'],
    [['vm', '-ix'], 'Unknown flag -x in -ix for banger vm try', 'banger vm try --help lists the flags'],
    [['vm', '--name'], '--name needs a value', '--name <value>'],
    [['vm', '--name', '--rm'], '--name needs a value', '--name <value>'],
    [['vm', '--rm=yes'], '--rm takes no value', undefined],
    [[], 'banger vm try needs <ref>', 'banger vm try --help shows how it is used'],
    [['vm', '--vcpu', 'two'], 'Invalid flag: --vcpu: wants a whole number, got two', undefined],
    [['vm', '--vcpu', '1.5'], 'Invalid flag: --vcpu: wants a whole number, got 1.5', undefined],
  ] as const)('%j', (words, message, hint) => {
    const error = refusal(...words);
    expect([error.code, error.message, error.hint]).toEqual(['bad_request', message, hint]);
  });

  test('surplus arguments point at --', () => {
    const one = defineCommand({ path: ['vm', 'exec'], summary: '', args: [{ name: 'ref', required: true }], trailing: 'command', load: command.load });
    expect(() => parseWords(one, ['box', 'ls'])).toThrow(/does not take ls/);
    const none = defineCommand({ path: ['image', 'list'], summary: '', load: command.load });
    expect(() => parseWords(none, ['--', 'x'])).toThrow(/nothing after --/);
  });
});
