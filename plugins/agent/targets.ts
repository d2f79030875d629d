// Where connections inside the guest go and where listeners listen: checked, as payloads, and as people read it.
import { isIP } from 'node:net';
import { badRequest } from '../../core/plugin-api.ts';
import type { GuestTarget } from '../../core/plugin-api.ts';
import { encodeTlv, tag, u16 } from './wire.ts';
import type { TlvEntry } from './wire.ts';

const maxHostBytes = 255;
/** What the kernel takes, without the NUL behind it. */
const maxSocketPathBytes = 107;

/** "localhost:80", "[::1]:80" or a path, for messages. */
export function targetText(target: GuestTarget): string {
  if ('path' in target) return target.path;
  return target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`;
}

/** Whether an agent of protocol 1 can connect there. */
export function isPlainTarget(target: GuestTarget): boolean {
  return 'host' in target && (isIP(target.host) !== 0 || target.host.toLowerCase() === 'localhost');
}

function pathEntries(path: string, user: string | undefined): TlvEntry[] {
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > maxSocketPathBytes) {
    throw badRequest([{ path: 'path', message: `must be absolute and at most ${maxSocketPathBytes} bytes long` }]);
  }
  if (user === '' || user?.includes('\0') === true || Buffer.byteLength(user ?? '') > 128) throw badRequest([{ path: 'user', message: 'not a user of a guest' }]);
  return user === undefined ? [[tag.path, path]] : [[tag.path, path], [tag.user, user]];
}

/** Payload of DIAL and LISTEN. `firstPort`: 1, or 0 where any port will do. @throws bad_request */
export function targetPayload(target: GuestTarget, firstPort: 0 | 1): Buffer {
  const entries: TlvEntry[] = [];
  if ('path' in target) {
    entries.push(...pathEntries(target.path, target.user));
  } else {
    const { host, port } = target;
    if (host === '' || host.includes('\0') || Buffer.byteLength(host) > maxHostBytes) throw badRequest([{ path: 'host', message: 'not an address or name' }]);
    if (!Number.isInteger(port) || port < firstPort || port > 65_535) throw badRequest([{ path: 'port', message: `must be ${firstPort} to 65535` }]);
    entries.push([tag.host, host], [tag.port, u16(port)]);
  }
  const payload = encodeTlv(entries);
  if (payload === undefined) throw badRequest([{ path: 'host', message: 'is too long' }]);
  return payload;
}
