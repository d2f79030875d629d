import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { findPortHolder } from './port-holder.ts';

test('names the process that has a port, TCP and UDP apart', async () => {
  const address = `127.35.${process.pid >> 8 & 255}.${process.pid & 255}`;
  const server = createServer().listen(0, address);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => { socket.bind(0, address, resolve); });
  const udpPort = socket.address().port;
  const self = expect.stringContaining(`(pid ${process.pid})`) as string;
  try {
    expect(findPortHolder({ protocol: 'tcp', address, port })).toEqual(self);
    expect(findPortHolder({ protocol: 'tcp', address: '0.0.0.0', port })).toEqual(self);
    expect(findPortHolder({ protocol: 'udp', address, port: udpPort })).toEqual(self);
    expect(findPortHolder({ protocol: 'tcp', address: '127.35.0.0', port })).toBeUndefined();
    server.close();
    await new Promise((resolve) => server.once('close', resolve));
    expect(findPortHolder({ protocol: 'tcp', address, port })).toBeUndefined();
    expect(findPortHolder({ protocol: 'tcp', address, port: udpPort })).toBeUndefined();
  } finally {
    server.close();
    socket.close();
  }
});
