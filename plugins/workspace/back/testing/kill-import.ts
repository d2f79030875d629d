// Imports, and is killed with it: `node kill-import.ts <repository> <file with the work as JSON> <step> <before|during>`.
// `before`: in front of the step's git; `during`: once that git has begun, which is killed too.
import { readFileSync } from 'node:fs';
import { importWork } from '../import.ts';
import type { GuestWork } from '../import.ts';
import { openRepository } from '../../host/repository.ts';
import { exec, never } from './guest.ts';

const [, , path, file, step, when] = process.argv as unknown as [string, string, string, string, string, string];
const repo = await openRepository(exec, path);
let calls = 0;
const deadly = {
  async run(...[program, args, options]: Parameters<typeof exec.run>): ReturnType<typeof exec.run> {
    if (calls++ !== Number(step)) return exec.run(program, args, options);
    if (when === 'before') process.kill(process.pid, 'SIGKILL');
    // A shell that is git's parent kills us, then its own group, whatever git is at.
    const script = '"$@" & sleep 0.00$0; kill -9 $PPID; kill -9 0';
    return exec.run('sh', ['-c', script, String(1 + (Number(step) % 9)), program, ...args], options);
  },
};
await importWork(deadly, repo, JSON.parse(readFileSync(file, 'utf8')) as GuestWork, { signal: never });
process.stdout.write('done\n');
