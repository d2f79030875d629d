import { describe, expect, test } from 'vitest';
import { disksSection } from './schema.ts';
import { formatSize, parseSize } from './size.ts';

test.each([
  ['8G', 8 * 2 ** 30], ['8g', 8 * 2 ** 30], ['8GiB', 8 * 2 ** 30], ['8GB', 8 * 2 ** 30], ['512M', 2 ** 29], ['1.5G', 1.5 * 2 ** 30], [' 1T ', 2 ** 40], ['64k', 65536], ['1000', 1000],
  ['', undefined], ['G', undefined], ['-1G', undefined], ['8X', undefined], ['8 G', undefined], ['1e3', undefined], ['0x10', undefined], ['0.3K', undefined], ['9999999999T', undefined],
])('%j is %s', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([[8 * 2 ** 30, '8G'], [1.5 * 2 ** 30, '1536M'], [2 ** 40, '1T'], [1000, '1000'], [0, '0']])('%d is written %s and reads back', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
  expect(parseSize(text)).toBe(bytes);
});

describe('the section', () => {
  test('has defaults, and its output parses to itself', () => {
    expect(disksSection.parse({})).toEqual({ rootSize: '8G', workSize: '8G' });
    const parsed = disksSection.parse({ rootSize: '1.5g', workSize: 64 * 2 ** 20 + 1 });
    expect(parsed).toEqual({ rootSize: '1536M', workSize: '65M' });
    expect(disksSection.parse(parsed)).toEqual(parsed);
  });
  test('names every wrong field at once', () => {
    const result = disksSection.safeParse({ rootSize: '1M', workSize: 'big', size: 1 });
    expect(result.success).toBe(false);
    expect(result.error?.issues.map((i) => [i.path.join('.'), i.message])).toEqual(expect.arrayContaining([
      ['rootSize', 'must be at least 64M'], ['workSize', 'must be a size such as 8G, 512M or a number of bytes'],
    ]));
  });
  test.each([['15M', 'at least 16M'], ['17T', 'at most 16T']])('refuses a work disk of %s', (workSize, message) => {
    expect(disksSection.safeParse({ workSize }).error?.issues[0]?.message).toContain(message);
  });
});
