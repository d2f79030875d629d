// The VM's own archive: `/banger/config` (read by guest/agent/config.c) and the files it names.
import { badRequest } from '../../core/plugin-api.ts';
import type { GuestNetwork, GuestPatch, Issue } from '../../core/plugin-api.ts';
import { writeCpio } from '../kernels/capability.ts';
import type { CpioEntry } from '../kernels/capability.ts';

/** Bytes of the session token. */
export const tokenBytes = 16;

/** One field of a line: bytes outside of `!` to `~`, and `%`, as %XX. */
export function encodeField(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text)) out += byte > 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return out;
}

function line(...fields: readonly string[]): string {
  return `${fields.map(encodeField).join(' ')}\n`;
}

function networkLines(network: GuestNetwork): string {
  const [address = '', prefix = '32'] = network.address.split('/');
  return line('net', network.mac, address, prefix, network.gateway === '' ? '-' : network.gateway, String(network.mtu))
    + network.nameservers.map((server) => line('nameserver', server)).join('');
}

function filesProblems(guest: GuestPatch): Issue[] {
  const issues: Issue[] = [];
  for (const file of guest.files) {
    if (!file.path.startsWith('/run/') || file.path.split('/').includes('..')) issues.push({ path: file.path, message: 'guest files go below /run' });
  }
  for (const [name, value] of Object.entries(guest.env)) {
    if (name === '' || name.includes('=') || name.includes('\0') || value.includes('\0')) issues.push({ path: `env.${name}`, message: 'not an environment variable' });
  }
  for (const mount of guest.mounts) {
    if (!mount.target.startsWith('/') || mount.target.split('/').includes('..')) issues.push({ path: mount.target, message: 'a mount target is an absolute path' });
  }
  return issues;
}

/**
 * The text the agent reads at boot.
 * @throws bad_request for a guest file outside /run or an impossible variable.
 */
export function renderConfig(guest: GuestPatch, token: Uint8Array): string {
  const issues = filesProblems(guest);
  if (issues.length > 0) throw badRequest(issues, 'guest configuration');
  return [
    line('token', Buffer.from(token).toString('hex')),
    line('hostname', guest.hostname),
    line('init', guest.init),
    ...Object.entries(guest.env).map(([name, value]) => line('env', `${name}=${value}`)),
    ...guest.mounts.map((mount) => line('mount', mount.drive, mount.target, mount.fstype, mount.seedFromImage ? 'seed' : 'plain')),
    guest.network === undefined ? '' : networkLines(guest.network),
    ...(guest.hosts ?? []).map((host) => line('host', host.address, host.name)),
    ...guest.files.map((file, index) => line('file', (file.mode & 0o7777).toString(8), file.path, `/banger/files/${index}`)),
  ].join('');
}

/** The archive appended to the kernel's initrd; uncompressed, a few KB. */
export function renderGuestArchive(guest: GuestPatch, token: Uint8Array): Buffer {
  const directories = ['banger', 'banger/files'].map((path): CpioEntry => ({ kind: 'directory', path, mode: 0o755 }));
  const files = guest.files.map((file, index): CpioEntry => ({ kind: 'file', path: `banger/files/${index}`, mode: 0o600, content: file.content }));
  return writeCpio([...directories, { kind: 'file', path: 'banger/config', mode: 0o600, content: renderConfig(guest, token) }, ...files]);
}
