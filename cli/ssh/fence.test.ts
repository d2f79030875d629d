import { describe, expect, test } from 'vitest';
import { isIncluded, withInclude, withoutInclude } from './fence.ts';

const include = 'Include /state/plugins/ssh/config';
const other = 'Include "/elsewhere with space/config"';
const file = '~/.ssh/config';

/** What people have there. */
const configs: Record<string, string> = {
  empty: '', 'one newline': '\n', 'no newline at the end': 'Host a\n  User b', plain: 'Host a\n  User b\n', 'CRLF': 'Host a\r\n  User b\r\n',
  'CRLF, no newline at the end': 'Host a\r\n  User b', 'bare CR': 'Host a\rUser b\r', 'blank lines': '\n\n\nHost a\n\n\n', 'a byte order mark': '\u00EF\u00BB\u00BFHost a\n',
  'bytes that are no UTF-8': '# \u00FF\u00FE\u0080\nHost a\n', NUL: 'Host a\n\0\n', tabs: '\tHost a\n\t\tUser b\n', 'an Include of its own': 'Include conf.d/*\nHost a\n',
  'words like ours': '# >>> banger >>>\n# <<< conda <<<\nHost banger\n', 'an end of ours, alone': 'Host a\n# <<< banger <<<\nHost b\n', 'a Match': 'Match all\n  User b\n',
};

describe.each(Object.entries(configs))('a configuration with %s', (_, text) => {
  test('has the line on top of what it was, and is that again afterwards', () => {
    const installed = withInclude(text, include, file);
    expect(installed.endsWith(text)).toBe(true);
    expect([isIncluded(text, include), isIncluded(installed, include)]).toEqual([false, true]);
    expect(withoutInclude(installed, file)).toBe(text);
  });
  test('is not changed by a second time, either way', () => {
    const installed = withInclude(text, include, file);
    expect(withInclude(installed, include, file)).toBe(installed);
    expect(withoutInclude(text, file)).toBe(text);
  });
  test('has one line when the path changes', () => {
    const installed = withInclude(withInclude(text, other, file), include, file);
    expect(installed).toBe(withInclude(text, include, file));
  });
  test('gives its own up also when our lines were moved down or have CRLF', () => {
    const lines = withInclude('', include, file);
    expect(withoutInclude(`Host x\n${lines}${text}`, file)).toBe(`Host x\n${text}`);
    expect(withoutInclude(lines.replaceAll('\n', '\r\n') + text, file)).toBe(text);
    expect(withInclude(`Host x\n${lines}${text}`, include, file)).toBe(`${lines}Host x\n${text}`);
  });
});

test('a file that was not there is not there again', () => {
  const made = withInclude(undefined, include, file);
  expect(withoutInclude(withInclude(made, other, file), file)).toBeUndefined();
  expect(withoutInclude(`${made}Host a\n`, file)).toBe('Host a\n');
  expect(withoutInclude(withInclude('', include, file), file)).toBe('');
});

test('a begin without its end is left to the person', () => {
  const [begin] = withInclude('', include, file).split('\n');
  for (const change of [() => withInclude(`${begin}\nHost a\n`, include, file), () => withoutInclude(`${begin}\nHost a\n`, file)]) {
    expect(change).toThrow(/has no "# <<< banger <<<" after it/);
  }
});

test.each([
  [`Host a\n${include}\n`, false], [`  ${include}  \n`, true], [`# ${include}\n`, false], [`match all\n${include}\n`, false], [`HostKeyAlias x\n${include}\n`, true],
])('%j includes it for all hosts: %s', (text, expected) => expect(isIncluded(text, include)).toBe(expected));
