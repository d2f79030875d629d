// SSH into a guest that has one static program and nothing else: no shell, no list of users, no /tmp.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';
import { ask, freePort, sshTools } from '../support/ssh-tools.ts';
import type { SshTools } from '../support/ssh-tools.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
let tools: SshTools;
const ssh = (...args: string[]) => tools.run('ssh', ['tiny.vm', ...args]);
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'tiny', '--image', scratchImage(), '-d'], { timeoutMs: 240_000 });
  tools = sshTools(host);
});
afterAll(async () => {
  tools.stop();
  await host.dispose();
});

test('runs its program by words; what would need a shell is refused with a sentence', async () => {
  expect(await ssh("/probe echo 'a  b' \"c\" d\\ e")).toMatchObject({ code: 0, out: 'a  b c d e\n', err: '' });
  expect((await ssh('/probe exit 7')).code).toBe(7);
  expect((await ssh('/probe raise 15')).code).toBe(255);
  expect(await tools.run('ssh', ['tiny.vm', '/probe cat'], { input: 'through' })).toMatchObject({ code: 0, out: 'through' });
  expect((await tools.run('ssh', ['-o', 'SendEnv=LANG', 'tiny.vm', '/probe env LANG'], { env: { LANG: 'C.UTF-8' } })).out).toBe('C.UTF-8\n');
  for (const line of ['/probe echo a | /probe cat', '/probe echo $HOME', '/nothing']) {
    const { code, out, err } = await ssh(line);
    expect([line, code, out, err.length > 0]).toEqual([line, 127, '', true]);
  }
  const shell = await tools.run('ssh', ['-T', 'tiny.vm']);
  expect([shell.code > 0, shell.err.length > 0]).toEqual([true, true]);
});

test('gives a terminal its size', async () => {
  const command = `stty rows 33 cols 101; exec ssh -F ${tools.configFile} -t tiny.vm '/probe size'`;
  expect((await tools.run('script', ['-qec', command, '/dev/null'], { env: { TERM: 'xterm' } })).out).toContain('33 101');
});

test('copies with scp and sftp, which need no program of the guest', async () => {
  const data = randomBytes(1_000_000);
  writeFileSync(join(host.dir, 'source'), data);
  expect(await tools.run('scp', ['source', 'tiny.vm:/file'])).toMatchObject({ code: 0, err: '' });
  expect(await tools.run('scp', ['tiny.vm:/file', 'back'])).toMatchObject({ code: 0 });
  expect(readFileSync(join(host.dir, 'back')).equals(data)).toBe(true);
  expect((await tools.run('sftp', ['-b', '-', 'tiny.vm'], { input: 'mkdir /d\nput source /d/two\nls -l /d\n' })).out).toContain('1000000');
});

test('forwards to a port and a socket of the guest', async () => {
  const servers = ['7000', '/up.sock'].map((where) => tools.start('ssh', ['tiny.vm', `/probe serve ${where}`]));
  await Promise.all(servers.map((server) => new Promise((resolve) => { server.stdout!.once('data', resolve); })));
  expect(await tools.run('ssh', ['-W', '127.0.0.1:7000', 'tiny.vm'], { input: 'by w' })).toMatchObject({ code: 0, out: 'by w' });
  const port = await freePort();
  tools.start('ssh', ['-N', '-L', `127.0.0.1:${port}:/up.sock`, 'tiny.vm']);
  expect(await waitFor('-L', () => ask({ host: '127.0.0.1', port }, 'by l'))).toBe('by l');
});

test("forwards the person's agent on a socket below /run, as there is no /tmp", async () => {
  const { code, out } = await tools.run('ssh', ['-A', 'tiny.vm', '/probe env SSH_AUTH_SOCK'], { env: { SSH_AUTH_SOCK: join(host.dir, 'nothing') } });
  // ssh asks for it only with an agent that answers.
  expect([code, out]).toEqual([1, '']);
  const sock = join(host.dir, 'agent.sock');
  const agent = tools.start('ssh-agent', ['-D', '-a', sock]);
  const env = { SSH_AUTH_SOCK: sock };
  await waitFor('the agent', async () => (await tools.run('ssh-add', ['-l'], { env })).code === 1);
  expect((await tools.run('ssh', ['-A', 'tiny.vm', '/probe env SSH_AUTH_SOCK'], { env })).out).toMatch(/^\/(run|tmp)\/banger-agent-[0-9a-f]{24}\.sock\n$/);
  agent.kill();
});
