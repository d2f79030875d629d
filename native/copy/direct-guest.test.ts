// The direct way: the guest's end alone, on a socket or a terminal that stands for its port.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { caught, collect, Ends, hello, helloBytes, Running } from './testing-direct.ts';
import { end, file, header, programs, temporary, type Programs } from './testing.ts';

const { dir, room, dispose } = temporary('direct-guest');
let copy: Programs;
let ends: Ends;
beforeAll(async () => {
  copy = await programs(dir);
  ends = new Ends(copy.asan, dir);
}, 300_000);
afterEach(() => ends.clear());
afterAll(dispose);

describe("the guest's end", () => {
  it('answers nothing but its hello, and drops what came before', async () => {
    const here = room();
    // Such as a host's whose own guest has failed, and which does not know it yet.
    const other = Buffer.concat([file('other'), randomBytes(3_000_000), Buffer.concat(Array.from({ length: 300 }, (_, i) => helloBytes.subarray(0, i % 16)))]);
    const { end: receiver, port } = await ends.guest(['receive', join(here, 'dest')], false);
    const got = collect(port);
    port.resume();
    for (const part of [other, helloBytes.subarray(0, 5)]) await new Promise((resolve) => port.write(part, resolve));
    expect([receiver.running, got.bytes.length]).toEqual([true, 0]);
    port.write(Buffer.concat([helloBytes.subarray(5), file('f'), end]));
    expect([await receiver.over(), receiver.err, got.bytes, readdirSync(here)]).toEqual([0, '', helloBytes, ['dest']]);
  });

  it('says hello first, and stays until the host has gone or speaks', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    for (const leave of [(port: Socket) => void port.destroy(), (port: Socket) => void port.write('x')]) {
      const { end: sender, port } = await ends.guest(['send', join(here, 'one')]);
      const got = collect(port);
      port.resume();
      await waitFor('the end mark', () => got.bytes.length > 2048 && got.bytes.subarray(-1024).equals(end));
      expect(got.bytes.subarray(0, 16)).toEqual(helloBytes);
      expect([sender.running, got.over]).toEqual([true, false]);
      leave(port);
      expect([await sender.over(), sender.err]).toEqual([0, '']);
    }
  });

  it('leaves at the end mark, without reading on', async () => {
    const here = room();
    const { end: receiver, port } = await ends.guest(['receive', join(here, 'dest')]);
    const got = collect(port);
    port.write(Buffer.concat([file('f'), end]));
    port.resume();
    expect([await receiver.over(), receiver.err, got.bytes]).toEqual([0, '', helloBytes]);
    expect(readFileSync(join(here, 'dest'), 'utf8')).toBe('text');
  });

  it('writes big contents past the page cache', async () => {
    const here = room();
    const { end: receiver, port } = await ends.guest(['receive', join(here, 'dest')]);
    const contents = randomBytes(6_000_000);
    port.resume();
    port.write(Buffer.concat([header({ name: 'f', size: contents.length }), contents.subarray(0, 3_000_000)]));
    const fds = `/proc/${receiver.child.pid}/fdinfo`;
    await waitFor('a file open for that', () => readdirSync(fds).some((fd) => Number.parseInt(/^flags:\s+(\d+)$/m.exec(readFileSync(join(fds, fd), 'utf8'))![1]!, 8) & constants.O_DIRECT));
    port.write(Buffer.concat([contents.subarray(3_000_000), Buffer.alloc(512 - (contents.length % 512)), end]));
    expect([await receiver.over(), receiver.err]).toEqual([0, '']);
    expect(readFileSync(join(here, 'dest')).equals(contents)).toBe(true);
  });

  it('tells when the host leaves in the middle', async () => {
    const here = room();
    const big = randomBytes(3_000_000);
    writeFileSync(join(here, 'big'), big);
    for (const sent of [Buffer.alloc(0), header({ name: 'f', size: 3_000_000 }), Buffer.concat([header({ name: 'f', size: 3_000_000 }), big.subarray(0, 2_500_000)]), Buffer.concat([file('f'), end.subarray(0, 512)])]) {
      const to = mkdtempSync(join(here, 'to-'));
      const { end: receiver, port } = await ends.guest(['receive', to]);
      await once(port.resume(), 'data');
      // A port has no half-closed state.
      port.write(sent, () => port.destroy());
      const [code, err] = [await receiver.over(), receiver.err];
      const whole = sent.length === 1536;
      expect([code, err]).toEqual([3, `copy: the stream ended early: ${whole ? '1 entry was' : 'nothing was'} put in place\n`]);
      expect(readdirSync(to)).toEqual(whole ? ['f'] : []);
    }
    const { end: sender, port } = await ends.guest(['send', join(here, 'big')]);
    await once(port.resume(), 'data');
    port.destroy();
    expect([await sender.over(), sender.err]).toEqual([3, 'copy: the other end is gone\n']);
  });

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`ends by ${signal}`, async () => {
      const here = room();
      const { end: receiver, port } = await ends.guest(['receive', join(here, 'dest')]);
      port.resume();
      port.write(Buffer.concat([header({ name: 'f', size: 3_000_000 }), randomBytes(2_000_000)]));
      await waitFor('the temporary file', () => readdirSync(here).length > 0);
      receiver.child.kill(signal);
      expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([3, 'copy: stopped by a signal: nothing was put in place\n', []]);
      writeFileSync(join(here, 'one'), 'text');
      const { end: sender, port: other } = await ends.guest(['send', join(here, 'one')]);
      const got = collect(other);
      other.resume();
      await waitFor('the end mark', () => got.bytes.length > 2048);
      sender.child.kill(signal);
      expect(await sender.over()).toBe(signal);
    });
  }
});

// The master of a terminal says that it was hung up while nobody has the slave open, as a port does.
const terminal = `
  open(my $master, "+<", "/dev/ptmx") or die $!;
  ioctl($master, 0x40045431, my $unlocked = pack("i", 0)) or die $!;
  ioctl($master, 0x80045430, my $number = pack("i", 0)) or die $!;
  my $slave = "/dev/pts/" . unpack("i", $number);
  system("stty", "-F", $slave, "raw", "-echo") == 0 or die;
  open(STDIN, "+<&", $master) or die $!;
  syswrite(STDERR, "$slave\\n");
  exec { $ARGV[0] } @ARGV;
`;

describe('a port that nobody has come to', () => {
  async function waiting(args: readonly string[]): Promise<{ end: Running; slave: string }> {
    const running = ends.keep(new Running(spawn('perl', ['-e', terminal, copy.asan, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })));
    const slave = await waitFor('the terminal', () => /^(\/dev\/pts\/\d+)\n/.exec(running.err)?.[1]);
    await waitFor('the program', () => readFileSync(`/proc/${running.child.pid}/cmdline`, 'latin1').startsWith(copy.asan));
    running.err = '';
    return { end: running, slave };
  }

  it('is waited for, and whoever leaves without a hello is none', async () => {
    const here = room();
    const { end: receiver, slave } = await waiting(['receive', '--port', hello, join(here, 'dest')]);
    await waitFor('the signals to be taken', () => caught(receiver));
    const say = (bytes: Buffer): number => {
      const fd = openSync(slave, constants.O_RDWR | constants.O_NOCTTY);
      writeSync(fd, bytes);
      return fd;
    };
    closeSync(say(randomBytes(100)));
    const fd = say(Buffer.concat([helloBytes, file('f'), end]));
    expect([await receiver.over(), receiver.err]).toEqual([0, '']);
    closeSync(fd);
    expect(readFileSync(join(here, 'dest'), 'utf8')).toBe('text');
  });

  it('is not waited for after a signal', async () => {
    const here = room();
    const { end: receiver } = await waiting(['receive', '--port', hello, join(here, 'dest')]);
    await waitFor('the signals to be taken', () => caught(receiver));
    receiver.child.kill('SIGHUP');
    expect([await receiver.over(), receiver.err]).toEqual([3, 'copy: stopped by a signal: nothing was put in place\n']);
  });
});
