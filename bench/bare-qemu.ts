// The baseline: the same kernel, initrd and fresh disks under bare QEMU, until the guest agent speaks.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Host } from '../test/support/host.ts';

const tokenBytes = 16;

export interface Baseline {
  /** Milliseconds from the start of QEMU to the agent's answer; disks are made before the clock starts. */
  measure(): Promise<number>;
  dispose(): void;
}

interface Machine { readonly kernel: string; readonly initrd: string; readonly token: Buffer; readonly backing: string; readonly argv: readonly string[] }

/** Takes kernel, initrd and session token from a VM that runs with the given init. */
export async function bareQemu(host: Host, init: string): Promise<Baseline> {
  const dir = mkdtempSync(join(tmpdir(), 'banger-bare-'));
  await host.ok(['vm', 'run', '-d', '--name', 'model', '--init', init]);
  const vm = await host.vm('model');
  const vmDir = join(host.stateDir, 'vms', vm.id);
  const argv = readFileSync(`/proc/${vm.process!.pid}/cmdline`, 'utf8').split('\0');
  const word = (flag: string): string => argv[argv.indexOf(flag) + 1]!;
  copyFileSync(word('-initrd'), join(dir, 'initrd.img'));
  const token = readFileSync(join(vmDir, 'agent-token'));
  const images = join(host.stateDir, 'images');
  const image = readdirSync(images).find((name) => /^[0-9a-f]{64}$/.test(name))!;
  const machine: Machine = {
    kernel: word('-kernel'), initrd: join(dir, 'initrd.img'), backing: join(images, image, 'rootfs.ext4'), argv,
    token: token.length === tokenBytes ? token : Buffer.from(token.toString('utf8').trim(), 'hex'),
  };
  await host.ok(['vm', 'delete', 'model']);
  return { measure: () => boot(dir, machine), dispose: () => rmSync(dir, { recursive: true, force: true }) };
}

async function boot(dir: string, machine: Machine): Promise<number> {
  const path = (name: string): string => join(dir, name);
  for (const name of ['root.qcow2', 'work.img', 'agent.sock']) rmSync(path(name), { force: true });
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', machine.backing, path('root.qcow2'), '8G']);
  writeFileSync(path('work.img'), '');
  truncateSync(path('work.img'), 8 * 2 ** 30);
  execFileSync('mke2fs', ['-F', '-q', '-t', 'ext4', '-E', 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1', path('work.img')]);
  const append = machine.argv[machine.argv.indexOf('-append') + 1]!;
  const mac = /mac=([0-9a-f:]{17})/.exec(machine.argv.join(' '))![1]!;
  const began = performance.now();
  const qemu = spawn('qemu-system-x86_64', [
    '-M', 'q35,accel=tcg', '-cpu', 'qemu64', '-m', '512', '-smp', '1', '-nodefaults', '-no-user-config', '-display', 'none',
    '-serial', `file:${path('console.log')}`,
    '-drive', `id=r,file=${path('root.qcow2')},format=qcow2,if=none`, '-device', 'virtio-blk-pci,drive=r,serial=root',
    '-drive', `id=w,file=${path('work.img')},format=raw,if=none`, '-device', 'virtio-blk-pci,drive=w,serial=work',
    '-netdev', 'user,id=n,net=10.0.3.0/24,host=10.0.3.2', '-device', `virtio-net-pci,netdev=n,mac=${mac}`,
    '-device', 'virtio-serial-pci', '-chardev', `socket,id=a,path=${path('agent.sock')},server=on,wait=off`, '-device', 'virtserialport,chardev=a,name=banger.agent',
    '-kernel', machine.kernel, '-initrd', machine.initrd, '-append', append,
  ], { stdio: 'ignore' });
  try {
    await agentSpeaks(path('agent.sock'), machine.token);
    return performance.now() - began;
  } finally {
    qemu.kill('SIGKILL');
    await new Promise((resolve) => qemu.once('exit', resolve));
  }
}

/** Says hello (guest/README.md) and waits for the answer to it. */
async function agentSpeaks(socketPath: string, token: Buffer): Promise<void> {
  const hello = Buffer.concat([token, randomBytes(tokenBytes)]);
  const deadline = performance.now() + 120_000;
  while (performance.now() < deadline) {
    const socket = connect(socketPath);
    const connected = await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    if (!connected) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      continue;
    }
    socket.write(hello);
    let heard = Buffer.alloc(0);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      heard = Buffer.concat([heard, chunk]);
      if (heard.includes(hello)) return;
      // An agent that started after our hello was dropped asks for a new one.
      if (heard.includes(Buffer.concat([token, Buffer.alloc(tokenBytes)]))) {
        heard = Buffer.alloc(0);
        socket.write(hello);
      }
    }
  }
  throw new Error('the guest agent did not speak within 120 s');
}
