// Small real repositories for the CLI's tests.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const env = {
  PATH: process.env['PATH'], HOME: '/nonexistent', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@localhost', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@localhost',
};
/** Runs git in a directory; answers its stdout, a character a byte. */
export const git = (dir: string, ...args: string[]): string => execFileSync('git', ['-C', dir, ...args], { env, encoding: 'latin1', stdio: ['ignore', 'pipe', 'ignore'] });

/** Names are latin1, a character a byte. */
export function writeFiles(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name, 'latin1')]);
    mkdirSync(join(dir, dirname(name)), { recursive: true });
    writeFileSync(path, content);
  }
}

/** A repository with one commit of these files, below `parent`. */
export function makeRepo(parent: string, files: Readonly<Record<string, string>> = { 'a.txt': 'one\n' }): string {
  const dir = mkdtempSync(join(parent, 'repo-'));
  git(dir, 'init', '-q', '-b', 'main');
  writeFiles(dir, files);
  git(dir, 'add', '-A');
  git(dir, 'commit', '-q', '-m', 'first');
  return dir;
}
