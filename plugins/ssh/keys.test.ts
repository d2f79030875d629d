// Keys read back by OpenSSH's own ssh-keygen.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureClientKey, ensureHostKey, readAuthorizedKeys, readHostKey, removeHostKey } from './keys.ts';
import { expandHostPath, isHostPath } from './host-path.ts';
import { generateKey, parsePublicKey, publicKeyOf } from './openssh-key.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-keys-'));
});
afterEach(() => rm(dir, { recursive: true }));

const keygen = (...args: string[]): string => execFileSync('ssh-keygen', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
const file = (name: string): string => join(dir, name);

describe('a key made here', () => {
  test('is what ssh-keygen reads, with the public half and comment we say', async () => {
    const { privateKeyPath, publicKey } = await ensureClientKey(file('ssh'));
    expect(keygen('-y', '-f', privateKeyPath)).toBe(publicKey);
    expect(keygen('-l', '-f', privateKeyPath)).toMatch(/^256 SHA256:\S{43} banger \(ED25519\)$/);
  });

  test.each(['', 'a', 'ab', 'abc', 'abcd', 'devbox.vm', 'x'.repeat(63), 'größe 1'])('has the right padding for the comment %j', async (comment) => {
    const { privateKey, publicKey } = generateKey(comment);
    await writeFile(file('key'), privateKey, { mode: 0o600 });
    expect(keygen('-y', '-f', file('key'))).toBe(publicKey.trim());
    expect(publicKeyOf(privateKey)).toBe(publicKey.trim());
  });

  test('signs what its public half verifies', async () => {
    const { privateKeyPath, publicKey } = await ensureClientKey(file('ssh'));
    await writeFile(file('signers'), `me ${publicKey}\n`);
    await writeFile(file('text'), 'text');
    keygen('-Y', 'sign', '-f', privateKeyPath, '-n', 'test', file('text'));
    const verified = spawnSync('ssh-keygen', ['-Y', 'verify', '-f', file('signers'), '-I', 'me', '-n', 'test', '-s', file('text.sig')], { input: 'text' });
    expect(verified.status).toBe(0);
  });
});

describe('the client key', () => {
  test('is made once: 0600 in a directory 0700, its public half beside it', async () => {
    const made = await ensureClientKey(file('ssh'));
    expect(await ensureClientKey(file('ssh'))).toEqual(made);
    expect([await modeOf(file('ssh')), await modeOf(made.privateKeyPath), await modeOf(`${made.privateKeyPath}.pub`)]).toEqual([0o700, 0o600, 0o644]);
    expect(await readFile(`${made.privateKeyPath}.pub`, 'utf8')).toBe(`${made.publicKey}\n`);
    expect((await readdir(file('ssh'))).toSorted()).toEqual(['id_ed25519', 'id_ed25519.pub']);
  });

  test('is one for many that ask at once', async () => {
    const keys = await Promise.all(Array.from({ length: 20 }, () => ensureClientKey(file('ssh'))));
    expect(new Set(keys.map(({ publicKey }) => publicKey)).size).toBe(1);
  });

  test('gets its mode back, as ssh refuses a key that others may read', async () => {
    const { privateKeyPath } = await ensureClientKey(file('ssh'));
    await chmod(privateKeyPath, 0o644);
    await ensureClientKey(file('ssh'));
    expect(await modeOf(privateKeyPath)).toBe(0o600);
  });

  test('survives a write that was cut off', async () => {
    await mkdir(file('ssh'));
    await writeFile(file('ssh/id_ed25519.new'), 'half of a k');
    const { privateKeyPath, publicKey } = await ensureClientKey(file('ssh'));
    expect(keygen('-y', '-f', privateKeyPath)).toBe(publicKey);
    expect(await readdir(file('ssh'))).not.toContain('id_ed25519.new');
  });

  test.each([
    ['ed25519', []], ['ed25519', ['-N', 'secret']], ['ecdsa', []], ['rsa', ['-b', '2048']], ['rsa', ['-b', '2048', '-m', 'PEM']],
  ])("may be the person's own: %s %j", async (type, extra) => {
    const passphrase = extra.includes('-N') ? [] : ['-N', ''];
    keygen('-q', '-t', type, '-f', file('own'), '-C', 'me', ...passphrase, ...extra);
    const [kind, base64] = (await readFile(file('own.pub'), 'utf8')).split(' ');
    if (!extra.includes('PEM')) await rm(file('own.pub'));
    const { privateKeyPath, publicKey } = await ensureClientKey(file('ssh'), file('own'));
    expect(privateKeyPath).toBe(file('own'));
    expect(parsePublicKey(publicKey)).toMatchObject({ type: kind, base64 });
  });

  test('is made at the configured path when it is not there, and a directory that is there keeps its mode', async () => {
    await mkdir(file('home'), { mode: 0o755 });
    const { privateKeyPath, publicKey } = await ensureClientKey(file('ssh'), file('home/key'));
    expect(keygen('-y', '-f', privateKeyPath)).toBe(publicKey);
    expect([await modeOf(privateKeyPath), await modeOf(file('home'))]).toEqual([0o600, 0o755]);
  });

  test('that is none is refused and kept', async () => {
    await writeFile(file('own'), 'not a key\n');
    await expect(ensureClientKey(file('ssh'), file('own'))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining(file('own')) as string });
    expect(await readFile(file('own'), 'utf8')).toBe('not a key\n');
  });

  test('cut short is refused at every length', () => {
    const { privateKey } = generateKey('devbox.vm');
    const [begin, ...rest] = privateKey.trim().split('\n');
    const blob = Buffer.from(rest.slice(0, -1).join(''), 'base64');
    const cut = (length: number): string => [begin, blob.subarray(0, length).toString('base64'), rest.at(-1)].join('\n');
    expect(publicKeyOf(cut(blob.length))).toBeDefined();
    for (let length = 0; length < blob.length; length += 1) expect(publicKeyOf(cut(length)), `${length} bytes`).toBeUndefined();
  });
});

describe("a VM's host key", () => {
  const vm = (name: string) => ({ name, dir: file(name) });

  test('is its own, lies in its directory, and goes when asked twice', async () => {
    await Promise.all([mkdir(file('a')), mkdir(file('b'))]);
    const [a, again, b] = await Promise.all([ensureHostKey(vm('a')), ensureHostKey(vm('a')), ensureHostKey(vm('b'))]);
    expect(again).toEqual(a);
    expect(b.publicKey).not.toBe(a.publicKey);
    expect(await readFile(file('a/ssh_host_ed25519_key'), 'utf8')).toBe(a.privateKey);
    expect(await modeOf(file('a/ssh_host_ed25519_key'))).toBe(0o600);
    expect(await readHostKey(vm('a'))).toBe(a.publicKey);
    await removeHostKey(vm('a'));
    await removeHostKey(vm('a'));
    expect(await readHostKey(vm('a'))).toBeUndefined();
  });

  test('is not made for a VM whose directory is gone', async () => {
    await expect(ensureHostKey(vm('gone'))).rejects.toMatchObject({ code: 'operation_failed' });
    expect(await readdir(dir)).toEqual([]);
  });
});

describe('authorized keys', () => {
  const own = generateKey('banger').publicKey;
  const bare = (line: string): string => line.split(' ').slice(0, 2).join(' ');
  const warnings: string[] = [];
  const read = (...files: string[]) => {
    warnings.length = 0;
    return readAuthorizedKeys({ authorized_keys: files }, { publicKey: own }, (path, reason) => warnings.push(`${path}: ${reason}`));
  };

  test('are ours and those of the files, each once', async () => {
    const [one, two] = [generateKey('one').publicKey, generateKey('two words').publicKey];
    await writeFile(file('a.pub'), `# mine\r\n\r\n${one}\r\n  ${two}`);
    await writeFile(file('b.pub'), `${two}\n${own}\n`);
    expect(await read(file('a.pub'), file('b.pub'))).toEqual([own, one, two].map(bare));
    expect(warnings).toEqual([]);
  });

  test('are read anew each time', async () => {
    await writeFile(file('a.pub'), generateKey('one').publicKey);
    expect(await read(file('a.pub'))).toHaveLength(2);
    await writeFile(file('a.pub'), '');
    expect(await read(file('a.pub'))).toEqual([bare(own)]);
  });

  test('leave out what cannot be honoured, and say so', async () => {
    const good = generateKey('good').publicKey;
    const limited = `restrict,command="true" ${generateKey('limited').publicKey}`;
    const blob = good.split(' ')[1]!;
    await writeFile(file('a.pub'), [limited, 'ssh-dss AAAAB3NzaC1kc3MAAAAA', `ssh-rsa ${blob}`, 'nonsense', good].join('\n'));
    await mkdir(file('dir'));
    execFileSync('mkfifo', [file('fifo')]);
    expect(await read(file('a.pub'), file('missing'), file('dir'), file('fifo'))).toEqual([own, good].map(bare));
    expect(warnings.map((line) => line.slice(dir.length + 1))).toEqual([
      'a.pub: line 1 is not a public key without options',
      'a.pub: line 2 has a key of type ssh-dss, which is not supported',
      'a.pub: line 3 is not a public key without options',
      'a.pub: line 4 is not a public key without options',
      expect.stringMatching(/^missing: ENOENT/) as string,
      'dir: it is not a regular file',
      'fifo: it is not a regular file',
    ]);
  });
});

describe('paths in the configuration', () => {
  test.each(['/a', '~/a', '~/.ssh/id'])('%s is taken', (path) => expect(isHostPath(path)).toBe(true));
  test.each(['', 'a', './a', '~', '~/', '~bob/a', '../a', '/a\0b'])('%j is refused', (path) => expect(isHostPath(path)).toBe(false));
  test('the home is put in', () => {
    expect(expandHostPath('~/.ssh/../id', '/home/me')).toBe('/home/me/id');
    expect(expandHostPath('/x/~/y', '/home/me')).toBe('/x/~/y');
  });
});
