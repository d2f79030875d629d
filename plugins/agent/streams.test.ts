import { expect, it } from 'vitest';
import { until } from './test-agent.ts';
import { DialStream } from './streams.ts';

const port = { data() {}, eof() {}, window() {}, close() {} };

it('a connection that the guest has closed as a whole is over for who writes on, once what it said has been read', async () => {
  const stream = new DialStream(port);
  stream.receive(Buffer.from('the last words'));
  stream.endReading();
  stream.gone();
  expect(stream.destroyed).toBe(false);
  const parts: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => parts.push(chunk));
  await until(() => stream.closed, 'the end of the connection');
  expect([Buffer.concat(parts).toString(), stream.errored]).toEqual(['the last words', null]);
});

it('one whose other direction had ended before is over at once', async () => {
  const stream = new DialStream(port);
  stream.resume();
  stream.endReading();
  await until(() => stream.readableEnded, 'the end of what it says');
  stream.gone();
  await until(() => stream.closed, 'the end of the connection');
  expect(stream.errored).toBeNull();
});

it('one that our side has ended delivers what it was told before', async () => {
  const stream = new DialStream(port);
  stream.end('a question');
  await until(() => stream.writableFinished, 'the end of the question');
  stream.receive(Buffer.from('an answer'));
  stream.gone();
  const parts: Buffer[] = [];
  for await (const chunk of stream) parts.push(chunk as Buffer);
  expect(Buffer.concat(parts).toString()).toBe('an answer');
});
