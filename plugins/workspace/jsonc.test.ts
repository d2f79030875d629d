import { expect, test } from 'vitest';
import { parseJsonc } from './jsonc.ts';

test('takes comments and commas at the end, and nothing of them in strings', () => {
  const text = `\uFEFF// first
  { /* one, */ "a": "// no comment, }", "b": [1, 2, /* last */ ], // to the end
    "c\\"/*": "x,]", "url": "https://example.org", "d": {"e": "\\\\",},
  }
  // last, without a newline`;
  expect(parseJsonc(text)).toEqual({ a: '// no comment, }', b: [1, 2], 'c"/*': 'x,]', url: 'https://example.org', d: { e: '\\' } });
});

test.each(['{"a": 1 /* never closed', '{,}x', '{"a": "unclosed}', '', '[1,,2]', "{'a': 1}", '{"a": 1/**/2}'])('refuses %j', (text) => {
  expect(() => parseJsonc(text)).toThrow(SyntaxError);
});
