// What a smoke scenario is: one story told with the built CLI against a real VM. Nothing of the source is imported.
import { spawn } from 'node:child_process';

export interface Outcome { readonly code: number; readonly out: string; readonly err: string }
export interface Banger {
  (...args: string[]): Promise<Outcome>;
  readonly env: NodeJS.ProcessEnv;
  /** The same with this environment. */
  with(env: NodeJS.ProcessEnv): Banger;
}
export interface Scenario {
  readonly name: string;
  /** `pure`: any number at once; `repo`: the same, with a git repository of its own; `global`: looks at all VMs of the daemon, so it runs alone. */
  readonly kind: 'pure' | 'repo' | 'global';
  readonly summary: string;
  run(banger: Banger): Promise<void>;
}

/** Runs the CLI given as `program` with this environment. */
export function cli(program: string, env: NodeJS.ProcessEnv): Banger {
  const call = (...args: string[]): Promise<Outcome> => new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 240_000 });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? -1, out, err }));
  });
  return Object.assign(call, { env, with: (other: NodeJS.ProcessEnv) => cli(program, other) });
}

export function expect(condition: boolean, what: string, outcome?: Outcome): void {
  if (condition) return;
  throw new Error(outcome === undefined ? what : `${what}\nexit ${outcome.code}\n${outcome.out}\n${outcome.err}`);
}

/** Runs a command that must succeed. */
export async function must(banger: Banger, ...args: string[]): Promise<string> {
  const outcome = await banger(...args);
  expect(outcome.code === 0, `banger ${args.join(' ')} failed`, outcome);
  return outcome.out;
}
