import { describe, expect, test } from 'vitest';
import type { Io } from '../io.ts';
import { EndLines } from './lines.ts';
import { createCopyProgress } from './progress.ts';

describe('lines of an end', () => {
  const shown: string[] = [];
  const lines = (): EndLines => {
    shown.length = 0;
    return new EndLines((line) => { shown.push(line); });
  };

  test('are shown as they come, but for the last one', () => {
    const end = lines();
    end.push(Buffer.from('copy: note: a socket\ncopy: /x: Per'));
    expect(shown).toEqual([]);
    end.push(Buffer.from('mission denied\n'));
    expect([shown, end.takeLast(), end.takeLast()]).toEqual([['note: a socket'], '/x: Permission denied', undefined]);
  });

  test('of a hostile guest are cleaned and bounded, in length and number', () => {
    const end = lines();
    end.push(Buffer.from(`\u001b[2J${'x'.repeat(100_000)}\n`));
    for (let i = 0; i < 10_000; i += 1) end.push(Buffer.from(`line ${i}\n`));
    end.push(Buffer.alloc(1_000_000, 'y'));
    expect(end.takeLast()).toBe('more lines are not shown');
    expect(shown.length).toBe(199);
    expect(shown[0]!.length).toBe(1000);
    expect(shown[0]!.startsWith('?[2Jxxx')).toBe(true);
  });
});

describe('progress', () => {
  const screen = (tty: boolean) => {
    const out: string[] = [];
    let at = 0;
    const io: Io = { env: { TERM: 'xterm', NO_COLOR: '1' }, isTty: () => tty, out: () => undefined, err: (text) => { out.push(text); } };
    return { out, io, pass: (ms: number) => { at += ms; }, now: () => at };
  };

  test('draws one line at most five times a second, and takes it back', () => {
    const { out, io, pass, now } = screen(true);
    const progress = createCopyProgress(io, { quiet: false, width: 40, now });
    progress.at('dir/na\u001b[2Jme');
    for (let i = 0; i < 100; i += 1) {
      pass(10);
      progress.moved(1024 * 1024);
    }
    expect(out).toEqual(['20', '40', '60', '80', '100'].map((mib) => `\r\u001b[K${mib} MiB  100 MiB/s  dir/na?[2Jme`));
    progress.say('host: note: something');
    progress.end();
    progress.moved(1);
    expect(out.slice(5)).toEqual(['\r\u001b[K', 'host: note: something\n']);
  });

  test.each([[false, false], [true, true]])('is silent without a terminal (%s) or when told so (%s)', (tty, quiet) => {
    const { out, io, pass, now } = screen(tty);
    const progress = createCopyProgress(io, { quiet, now });
    pass(1000);
    progress.moved(1);
    progress.at('name');
    progress.end();
    expect(out).toEqual([]);
  });
});
