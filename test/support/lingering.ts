// A process whose first thread is over while another lives: a zombie that still holds its files, sockets and locks.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from './wait.ts';

const source = '#include <pthread.h>\n#include <unistd.h>\nstatic void *linger(void *p) { char c; while (read(0, &c, 1) > 0); return p; }\n'
  + 'int main(void) { pthread_t t; pthread_create(&t, NULL, linger, NULL); pthread_exit(NULL); }\n';

/** Resolves when the first thread is over. The other one ends with stdin; the caller sees to that, or kills the process. */
export async function startLingering(): Promise<ChildProcess & { readonly pid: number }> {
  const dir = mkdtempSync(join(tmpdir(), 'banger-linger-'));
  execFileSync('gcc', ['-pthread', '-x', 'c', '-o', join(dir, 'linger'), '-'], { input: source });
  const child = spawn(join(dir, 'linger'), { stdio: ['pipe', 'ignore', 'inherit'] });
  await waitFor('the first thread to be over', () => readFileSync(`/proc/${child.pid!}/stat`, 'latin1').includes(') Z '));
  rmSync(dir, { recursive: true });
  return child as ChildProcess & { readonly pid: number };
}
