// Where a repository goes in the guest.
import { BangerError } from '../../../core/plugin-api.ts';
import { toBytes } from './bytes.ts';

const maxName = 64;
const maxPathBytes = 1024;
/** The guest's own system, and what lets people into it. `lib*` has many names. */
const reserved = ['/etc', '/proc', '/sys', '/dev', '/run', '/usr', '/bin', '/sbin', '/boot', '/var/lib', '/var/cache', '/var/log'];
/** Directories that others share: below them there is room. */
const shared = new Set(['/', '/root', '/home', '/var', '/tmp', '/var/tmp', '/opt', '/srv', '/mnt', '/media']);

/** `/root/<name>`: leading dots and bytes other than letters, digits, `.`, `_` and `-` become `_`. */
export function defaultGuestPath(name: string): string {
  const plain = toBytes(name).replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, (dots) => '_'.repeat(dots.length));
  return `/root/${plain.slice(0, maxName) || 'repo'}`;
}

/** The path without doubled or trailing slashes and single dots. @throws bad_request: relative, with `..`, or of the guest's own system */
export function requireGuestPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const clean = `/${parts.join('/')}`;
  if (!path.startsWith('/')) throw refused(path, 'is not absolute');
  if (parts.includes('..')) throw refused(path, 'has .. in it');
  if (/\p{Cc}/u.test(path)) throw refused(path, 'has a control character in it');
  if (Buffer.byteLength(clean) > maxPathBytes) throw refused(path, `is longer than ${maxPathBytes} bytes`);
  if (shared.has(clean)) throw refused(path, 'is not a place for a repository');
  const owner = reserved.find((dir) => clean === dir || clean.startsWith(`${dir}/`)) ?? (clean.startsWith('/lib') ? `/${parts[0]}` : undefined);
  if (owner !== undefined) throw refused(path, `is in ${owner}, which belongs to the guest itself`);
  // Keys, settings and caches of root, our own log among them.
  if (parts[0] === 'root' && parts[1]!.startsWith('.')) throw refused(path, `is in /root/${parts[1]}, which belongs to the guest itself`);
  if (parts.includes('.git')) throw refused(path, 'is in a git directory');
  return clean;
}

function refused(path: string, why: string): BangerError {
  const message = `Guest path ${JSON.stringify(path)} ${why}`;
  return new BangerError('bad_request', message, { hint: 'choose a directory such as /root/repo', detail: { issues: [{ path: 'guestPath', message }] } });
}
