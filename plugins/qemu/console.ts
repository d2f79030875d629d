// The serial console as our supervisor keeps it: a log for each boot, and a socket for one client at a time.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { join } from 'node:path';
import { busy, operationFailed, timedOut } from '../../core/plugin-api.ts';
import type { ConsoleBoot, Vm } from '../../core/plugin-api.ts';

/** How many boots the supervisor keeps the logs of. */
export const keptBoots = 5;

const greetingTimeoutMs = 5_000;
const maxGreetingBytes = 16;
const older = '.1';

/** Directory of a VM's console logs. */
export const consoleDir = (vmDir: string): string => join(vmDir, 'console');

/** The boots with a log, oldest first. */
export function consoleBoots(vmDir: string): readonly ConsoleBoot[] {
  const dir = consoleDir(vmDir);
  const numbers = new Set<number>();
  for (const name of existsSync(dir) ? readdirSync(dir) : []) {
    const number = /^([1-9]\d{0,8})\.log(\.1)?$/.exec(name)?.[1];
    if (number !== undefined) numbers.add(Number(number));
  }
  const boots = [...numbers].toSorted((a, b) => a - b).map((boot) => ({ boot, files: filesOf(join(dir, `${boot}.log`)) }));
  if (boots.length > 0) return boots;
  const files = filesOf(earlierLog(vmDir));
  return files.length > 0 ? [{ boot: 1, files }] : [];
}

const filesOf = (path: string): string[] => [`${path}${older}`, path].filter((file) => existsSync(file));

/** Where versions before the logs by boot wrote all boots of a VM. */
const earlierLog = (vmDir: string): string => join(vmDir, 'console.log');

/** Makes the log of a version before the logs by boot that of the first boot, so that it is kept and goes like any other. */
export async function adoptEarlierLog(vmDir: string): Promise<void> {
  const from = earlierLog(vmDir);
  const to = join(consoleDir(vmDir), '1.log');
  if (!existsSync(from)) return;
  await mkdir(consoleDir(vmDir), { recursive: true, mode: 0o700 });
  for (const end of [older, '']) if (existsSync(`${from}${end}`)) await rename(`${from}${end}`, `${to}${end}`);
}

/**
 * Reads the supervisor's answer off a new connection; what follows is the console.
 * @throws busy when another client is there; timeout; operation_failed
 */
export async function greetConsole<S extends Duplex>(socket: S, vm: Pick<Vm, 'name'>): Promise<S> {
  try {
    const line = await readLine(socket, vm);
    if (line === 'ok') return socket;
    if (line === 'busy') throw busy(`The console of ${vm.name}`, 'somebody else is connected to it');
    throw operationFailed(`The console of ${vm.name} answers in a way that is not known`);
  } catch (error) {
    socket.on('error', () => {});
    socket.destroy();
    throw error;
  }
}

function readLine(socket: Duplex, vm: Pick<Vm, 'name'>): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => settle(() => reject(timedOut(`the console of ${vm.name}`, greetingTimeoutMs))), greetingTimeoutMs);
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      socket.off('readable', take).off('end', ended).off('error', ended);
      finish();
    };
    const ended = (): void => settle(() => reject(operationFailed(`The console of ${vm.name} was closed`)));
    const take = (): void => {
      for (;;) {
        const byte = socket.read(1) as Buffer | null;
        if (byte === null) return;
        if (byte[0] === 0x0a || text.length === maxGreetingBytes) return settle(() => resolve(text));
        text += byte.toString('latin1');
      }
    };
    socket.on('readable', take).on('end', ended).on('error', ended);
  });
}
