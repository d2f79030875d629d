// What an export refuses before there is a stream. This host plays the guest.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CallContext, Logger } from '../../core/plugin-api.ts';
import { git } from '../../test/support/repo-snapshot.ts';
import type { WorkspaceDeps } from './deps.ts';
import { exportWorkspace } from './export.ts';
import { workspaceConfig } from './schema.ts';
import { hostAgent, testVm } from './testing/host-agent.ts';

let repo: string;
beforeEach(() => {
  repo = mkdtempSync(join(tmpdir(), 'banger-export-'));
  git(repo, 'init', '-q', '-b', 'main');
  writeFileSync(join(repo, 'a'), 'one\n');
  git(repo, 'add', 'a');
  git(repo, 'commit', '-qm', 'first');
});
afterEach(() => rmSync(repo, { recursive: true }));

const silent: Logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined, child: () => silent };
/** The stream is offered, and nobody takes it. */
function offer(baseCommit?: string): Promise<{ readonly ticket: string }> {
  const deps = {
    agent: hostAgent({ GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', HOME: '/nonexistent' }), vms: { running: async () => testVm }, log: silent,
    host: { slowdown: 1 }, config: workspaceConfig.parse({}), activity: { hold: () => () => undefined },
  } as unknown as WorkspaceDeps;
  const call = { opId: 'op-1', signal: new AbortController().signal, peer: { offerStream: () => 'a ticket' } } as unknown as CallContext;
  return exportWorkspace(deps, { ref: 'devbox', guestPath: repo, ...(baseCommit === undefined ? {} : { baseCommit }) }, call);
}

test('begins at HEAD, at a commit, at a branch', async () => {
  for (const base of [undefined, git(repo, 'rev-parse', 'HEAD'), 'main', 'HEAD~0']) expect(await offer(base)).toEqual({ ticket: 'a ticket' });
});

test.each(['f'.repeat(40), 'abcdef', 'no such', 'HEAD~1', 'HEAD:a', '$(touch x)'])('the guest has no commit %s', async (base) => {
  await expect(offer(base)).rejects.toMatchObject({ code: 'not_found', message: `The guest of devbox has no commit ${base}` });
});
