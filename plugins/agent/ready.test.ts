// The stop step against agents that answer, refuse, or are frozen: a scripted socket in place of the agent, because a real
// one would shut this host down.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { duplexPair } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Vm, VmmDriver, Vms } from '../../core/plugin-api.ts';
import { createGuestAgent } from './guest-agent.ts';
import type { AgentLinks } from './guest-agent.ts';
import { shutdownStep } from './ready.ts';
import { failureOf, idle, quietLog, testToken } from './test-agent.ts';
import { encodeFrame, encodeTlv, FrameParser, frameType, tag, TokenScanner, u32 } from './wire.ts';

type Answer = 'agrees' | 'refuses' | 'is silent';
let links: AgentLinks;
let vm: Vm;
let asked: string[];
let answer: Answer;

beforeEach(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'banger-stop-'));
  await writeFile(join(dir, 'agent-token'), testToken);
  vm = { id: 'a'.repeat(12), name: 'devbox', slot: 1, mark: 'x/y', dir, createdAt: '', spec: { image: 'i', imageName: 'i', kernel: 'k', driver: 'fake', vcpu: 1, memoryMiB: 512, init: 'auto', env: {}, sections: {} } };
  asked = [];
  const driver: VmmDriver = {
    driveFormats: ['raw'], consoleLogs: () => [], available: () => Promise.resolve({ ok: true, preference: 1 }),
    connectAgent: () => Promise.resolve(scriptedAgent()),
  };
  const vms: Vms = { get: () => vm, list: () => [vm], isRunning: () => true, process: () => undefined, paused() {}, isPaused: () => false, resolve: () => vm, running: () => Promise.resolve(vm), ended() {}, note() {}, rebooted() {}, onChange: () => () => {} };
  links = createGuestAgent({ vms, use: { hold: () => () => undefined }, host: { slowdown: 1 }, log: quietLog, driver: () => driver });
});
afterEach(async () => {
  links.closeAll();
  await rm(vm.dir, { recursive: true, force: true });
});

/** The guest's end: says hello, introduces itself, and treats requests to shut down as `answer` says. */
function scriptedAgent(): ReturnType<typeof duplexPair>[0] {
  const [hostEnd, pipe] = duplexPair();
  const parser = new FrameParser();
  let hello: Buffer | undefined = Buffer.alloc(0);
  pipe.on('error', () => {});
  pipe.on('data', (chunk: Buffer) => {
    if (hello !== undefined) {
      hello = Buffer.concat([hello, chunk]);
      const end = new TokenScanner(testToken).push(hello)[0];
      if (end === undefined || hello.length < end + 16) return;
      pipe.write(Buffer.concat([testToken, hello.subarray(end, end + 16)]));
      pipe.write(encodeFrame(frameType.info, 0, encodeTlv([[tag.version, '0.1.0'], [tag.protocol, u32(1)], [tag.bootId, 'aaaa'], [tag.init, 'agent']]) ?? Buffer.alloc(0)));
      hello = undefined;
      return;
    }
    parser.push(chunk, (frame) => {
      if (frame.type !== frameType.shutdown) return true;
      asked.push(frame.payload.toString('hex'));
      if (answer !== 'is silent') pipe.write(encodeFrame(frameType.shutdownAck, frame.stream, u32(answer === 'agrees' ? 0 : 22)));
      return true;
    });
  });
  return hostEnd;
}

const stop = (acknowledgeMs: number, signal = idle): Promise<void> => {
  const step = shutdownStep(links, { timeoutMs: 60_000, acknowledgeMs });
  return step.run({ vm, signal, log: quietLog, reason: 'stop' });
};

it('is done asking when the agent says that it will', async () => {
  answer = 'agrees';
  await links.ready(vm, idle);
  await stop(60_000);
  expect(asked).toEqual(['01']);
});

it('fails at once when the agent refuses', async () => {
  answer = 'refuses';
  await links.ready(vm, idle);
  expect(await failureOf(stop(60_000))).toMatchObject({ code: 'operation_failed', message: 'the guest agent of devbox refused to poweroff' });
});

it('gives a frozen agent up after the time to acknowledge', async () => {
  answer = 'is silent';
  await links.ready(vm, idle);
  expect(await failureOf(stop(20))).toMatchObject({ code: 'timeout', message: expect.stringContaining('answer of the guest agent of devbox') as string });
  expect(asked).toEqual(['01']);
});

it('gives up the same way when there is no session yet', async () => {
  // Nothing answers the hello.
  vm = { ...vm, name: 'mute' };
  const mute: VmmDriver = { driveFormats: ['raw'], consoleLogs: () => [], available: () => Promise.resolve({ ok: true, preference: 1 }), connectAgent: () => Promise.resolve(duplexPair()[0]) };
  links = createGuestAgent({ vms: { get: () => vm, list: () => [vm], isRunning: () => true, process: () => undefined, paused() {}, isPaused: () => false, resolve: () => vm, running: () => Promise.resolve(vm), ended() {}, note() {}, rebooted() {}, onChange: () => () => {} }, use: { hold: () => () => undefined }, host: { slowdown: 1 }, log: quietLog, driver: () => mute });
  await links.attach(vm, 'aaaa');
  expect(await failureOf(stop(20))).toMatchObject({ code: 'timeout' });
});

it('ends with the step, as cancelled', async () => {
  answer = 'is silent';
  await links.ready(vm, idle);
  const cancel = new AbortController();
  const stopping = failureOf(stop(60_000, cancel.signal));
  cancel.abort();
  expect(await stopping).toMatchObject({ code: 'cancelled' });
});
