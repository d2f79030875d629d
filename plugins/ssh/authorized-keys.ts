// The public keys that may log in: ours, and those in the files that the configuration names.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Logger } from '../../core/plugin-api.ts';
import { expandHostPath } from './host-path.ts';
import { parsePublicKey } from './openssh-key.ts';

/** Told about a file, or a line of one, that does not count, and why. */
export type WarnOfKeys = (file: string, reason: string) => void;

const maxFileBytes = 1024 * 1024;
/** What the server can verify. */
const types = new Set(['ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521', 'ssh-rsa']);

/** A warning for each file and reason, once in the daemon's life. */
export function warnOnce(log: Logger): WarnOfKeys {
  const said = new Set<string>();
  return (file, reason) => {
    const key = `${file}\n${reason}`;
    if (said.has(key)) return;
    said.add(key);
    log.warn({ file, reason }, 'a file of public keys does not count in full');
  };
}

/**
 * Every public key that may log in, each `type base64`, ours first. Files are read anew, so that a key taken out of one is out at once.
 * A file that cannot be read does not hold up the others. Lines with options are left out: honouring the key without its limits would
 * be more than its owner allowed.
 */
export async function readAuthorizedKeys(
  config: { readonly authorized_keys: readonly string[] }, clientKey: { readonly publicKey: string }, warn: WarnOfKeys = () => undefined): Promise<readonly string[]> {
  const own = parsePublicKey(clientKey.publicKey);
  const keys = new Set(own ? [`${own.type} ${own.base64}`] : []);
  for (const path of config.authorized_keys) {
    const file = expandHostPath(path);
    try {
      for (const key of keysIn(await readRegular(file), (reason) => warn(file, reason))) keys.add(key);
    } catch (error) {
      warn(file, (error as Error).message);
    }
  }
  return [...keys];
}

function keysIn(text: string, warn: (reason: string) => void): string[] {
  const keys: string[] = [];
  text.split(/\r?\n/).forEach((line, index) => {
    if (/^\s*(#|$)/.test(line)) return;
    const key = parsePublicKey(line);
    if (key !== undefined && types.has(key.type)) keys.push(`${key.type} ${key.base64}`);
    else warn(`line ${index + 1} ${key === undefined ? 'is not a public key without options' : `has a key of type ${key.type}, which is not supported`}`);
  });
  return keys;
}

/** Never waits: opening a FIFO would, without O_NONBLOCK. */
async function readRegular(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { size } = await file.stat().then((info) => (info.isFile() ? info : Promise.reject(new Error('it is not a regular file'))));
    if (size > maxFileBytes) throw new Error(`it is larger than ${maxFileBytes} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
