// Files of the host's user in real guests, at each start.
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';

const config = `
[vm_defaults]
vcpu = 1
memory_mib = 512
init = "agent"

[plugins.file-sync]
git_identity = true

[[file_sync]]
host = "~/settings"
guest = "~/.config/settings"

[[file_sync]]
host = "~/not-there"
guest = "~/not-there"

[[file_sync]]
host = "~/secret"
guest = "/root/.secret"

[[file_sync]]
host = "~/tool"
guest = "~/bin/tool"
mode = "0755"
`;

let host: Host;
beforeAll(async () => {
  host = await makeHost({ config });
  const at = (...path: string[]): string => join(host.dir, ...path);
  mkdirSync(at('settings', 'deep'), { recursive: true });
  writeFileSync(at('settings', 'deep', 'ümläut'), 'first\n', { mode: 0o640 });
  symlinkSync('/etc/passwd', at('settings', 'link'));
  writeFileSync(at('secret'), 'hunter2\n', { mode: 0o644 });
  writeFileSync(at('tool'), '#!/bin/sh\necho "the tool runs"\n');
  writeFileSync(at('.gitconfig'), '[user]\n\tname = Ada "the first" Lovelace\n\temail = ada@example.org\n');
});
afterAll(async () => {
  await host.dispose();
});
const guest = async (...command: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'synced', '--', ...command])).out;

test('are there after the start, as root\'s, with their modes and without links', async () => {
  await host.ok(['vm', 'run', '--name', 'synced', '-d']);
  expect(await guest('stat', '-c', '%A %U:%G', '/root/.secret', '/root/.config/settings/deep/ümläut', '/root/bin/tool')).toBe('-rw------- root:root\n-rw-r----- root:root\n-rwxr-xr-x root:root\n');
  expect(await guest('cat', '/root/.secret', '/root/.config/settings/deep/ümläut')).toBe('hunter2\nfirst\n');
  expect(await guest('/root/bin/tool')).toBe('the tool runs\n');
  expect(await guest('find', '/root/.config', '/root/not-there', '-name', 'link', '-o', '-path', '/root/not-there').catch((error: unknown) => String(error))).toContain('No such file');
  expect(await guest('find', '/root/.config', '-type', 'l')).toBe('');
});

test('a path that is missing is told, and git knows its user', async () => {
  expect((await host.vm('synced')).stateReason).toBe(`file sync: file_sync[1] was skipped: ${host.dir}/not-there is not there`);
  expect(await guest('git', 'config', 'user.name')).toBe('Ada the first Lovelace\n');
  expect(await guest('git', 'config', 'user.email')).toBe('ada@example.org\n');
});

test('come again at the next start; what the guest has made of its git configuration stays', async () => {
  await guest('git', 'config', '--global', 'user.name', 'Guest');
  await guest('sh', '-c', 'rm -r /root/.config; mkdir /root/elsewhere; ln -s elsewhere /root/.config; chmod 777 /root/.secret');
  writeFileSync(join(host.dir, 'secret'), 'changed\n');
  await host.ok(['vm', 'restart', 'synced']);
  expect(await guest('cat', '/root/.secret')).toBe('changed\n');
  expect((await guest('stat', '-c', '%a', '/root/.secret')).trim()).toBe('600');
  expect(await guest('git', 'config', 'user.name')).toBe('Guest\n');
  // The guest's own link is in the way: nothing goes through it.
  expect(await guest('ls', '-A', '/root/elsewhere')).toBe('');
  expect((await host.vm('synced')).stateReason).toMatch(/^file sync: .*\(and [1-9] more, see banger daemon logs\)$/);
});

test('reach a guest of one static program, too', async () => {
  await host.ok(['vm', 'run', '--name', 'tiny', '--image', scratchImage(), '-d']);
  await host.ok(['vm', 'cp', 'tiny:/root/.config', join(host.dir, 'back')]);
  expect(readFileSync(join(host.dir, 'back', 'settings', 'deep', 'ümläut'), 'utf8')).toBe('first\n');
  await host.ok(['vm', 'cp', 'tiny:/root/.gitconfig', join(host.dir, 'back')]);
  expect(readFileSync(join(host.dir, 'back', '.gitconfig'), 'utf8')).toContain('ada@example.org');
  await host.ok(['vm', 'delete', 'tiny']);
});

test('a link that leads out of the home ends the start, and nothing of the VM stays running', async () => {
  await host.ok(['vm', 'stop', 'synced']);
  symlinkSync('/etc/passwd', join(host.dir, 'not-there'));
  const { code, err } = await host.banger(['vm', 'start', 'synced']);
  expect(code).toBe(1);
  expect(err).toMatch(/file_sync\[1\]: .*not-there leads to \/etc\/passwd, outside of the home/);
  expect((await host.vm('synced')).state).not.toBe('running');
  expect(await host.marked()).toEqual([]);
});

test('a wrong entry refuses the daemon with the number of the entry', async () => {
  const wrong = await makeHost({ bare: true, config: '[[file_sync]]\nhost = "~/a"\nguest = "~/a"\n[[file_sync]]\nhost = "~/../a"\nguest = "/etc/a"\n' });
  const { code, err } = await wrong.banger(['vm', 'list']);
  expect(code).not.toBe(0);
  expect(err).toMatch(/file_sync\[1\]\.host: must not hold \.\./);
  expect(err).toMatch(/file_sync\[1\]\.guest: lies outside of ~\//);
  writeFileSync(join(wrong.dir, 'config', 'banger', 'config.toml'), '');
  await wrong.dispose();
});
