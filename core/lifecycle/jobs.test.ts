import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nullLog } from '../log.ts';
import { createProcesses } from '../process.ts';
import type { Job, Processes } from '../plugin-api.ts';
import { openStore } from '../store/store.ts';
import type { Store } from '../store/store.ts';
import { refuseWrites } from '../../test/support/full-store.ts';
import { tempState } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import { createJobRunner } from './jobs.ts';
import type { JobRunner } from './jobs.ts';

interface Parts { readonly store: Store; readonly processes: Processes; readonly jobs: JobRunner }
function open(dir: string): Parts {
  const store = openStore(dir);
  const processes = createProcesses();
  onTestFinished(async () => {
    for (const { process } of processes.findByMark(`${store.installId}/`, { prefix: true })) await processes.end(process, { graceMs: 0 });
    store.close();
  });
  return { store, processes, jobs: createJobRunner({ store, processes, log: nullLog }) };
}

const call = { opId: 'op-1', signal: new AbortController().signal };
function build(undone: string[], error?: Error): Job<string> {
  return { name: 'fake.build', undo: async (plan) => { undone.push(plan); if (error) throw error; } };
}
async function sleeper({ processes }: Parts, mark: string): Promise<void> {
  spawn('sleep', ['3600'], { detached: true, stdio: 'ignore', env: { PATH: process.env['PATH'], BANGER_MARK: mark } }).unref();
  await waitFor('the marked process', () => processes.findByMark(mark).length === 1);
}

describe('a job', () => {
  it('leaves no row when it ends well, and is not undone', async () => {
    const parts = open(tempState());
    const undone: string[] = [];
    const run = parts.jobs.register('fake', build(undone));
    const mark = await run('staging', call, async (ctx) => {
      expect(parts.store.ledger.jobs()).toMatchObject([{ step: 'fake.build', plan: 'staging', state: 'running' }]);
      return ctx.mark;
    });
    expect(mark).toMatch(new RegExp(`^${parts.store.installId}/job-[0-9a-f]{12}/fake\\.build$`));
    expect([undone, parts.store.ledger.count()]).toEqual([[], 0]);
  });

  it('that fails is undone after its processes are killed; the cause stays the cause', async () => {
    const parts = open(tempState());
    const undone: string[] = [];
    const run = parts.jobs.register('fake', build(undone));
    await expect(run('staging', call, async ({ mark }) => {
      await sleeper(parts, mark);
      throw new Error('no space');
    })).rejects.toThrow('no space');
    expect([undone, parts.store.ledger.count(), parts.processes.findByMark(`${parts.store.installId}/`, { prefix: true })]).toEqual([['staging'], 0, []]);
  });

  it('that fails on a full disk has its staging removed though the ledger cannot be written', async () => {
    const dir = tempState();
    const parts = open(dir);
    const undone: string[] = [];
    const run = parts.jobs.register('fake', build(undone));
    let allow = (): void => undefined;
    await expect(run('staging', call, async () => {
      allow = refuseWrites({ database: join(dir, 'banger.db') });
      throw new Error('no space');
    })).rejects.toThrow('no space');
    expect([undone, parts.store.ledger.count()]).toEqual([['staging'], 1]);
    allow();
    expect(await parts.jobs.undo(parts.store.ledger.jobs()[0]!)).toBeUndefined();
    expect(parts.store.ledger.count()).toBe(0);
  });

  it('whose undo fails keeps its row until a retry succeeds', async () => {
    const parts = open(tempState());
    const problems = [new Error('busy')];
    const run = parts.jobs.register('fake', { name: 'fake.build', undo: async () => { const problem = problems.pop(); if (problem) throw problem; } });
    await expect(run('staging', call, () => Promise.reject(new Error('no space')))).rejects.toThrow('no space');
    const [row] = parts.store.ledger.byState('undo_failed');
    expect(row).toMatchObject({ step: 'fake.build', error: 'busy' });
    expect(row && await parts.jobs.undo(row)).toBeUndefined();
    expect(parts.store.ledger.count()).toBe(0);
  });

  it('of a dead daemon is undone by the next, its processes first', async () => {
    const dir = tempState();
    const first = open(dir);
    const began = Promise.withResolvers<string>();
    void first.jobs.register('fake', build([]))('staging', call, async ({ mark }) => {
      await sleeper(first, mark);
      began.resolve(mark);
      return new Promise(() => undefined);
    });
    const mark = await began.promise;
    first.store.close();
    const second = open(dir);
    const undone: string[] = [];
    second.jobs.register('fake', build(undone));
    for (const row of second.store.ledger.jobs()) await second.jobs.undo(row);
    expect([undone, second.processes.findByMark(mark), second.store.ledger.count()]).toEqual([['staging'], [], 0]);
  });

  it('of a plugin that is not active stays in the ledger', async () => {
    const parts = open(tempState());
    parts.store.ledger.insert({ owner: 'job:1', step: 'gone.build', plugin: 'gone', lifetime: 'job', lifeline: false, plan: null, opId: 'op-1', hostBootId: 'b' });
    const [row] = parts.store.ledger.jobs();
    expect(row && await parts.jobs.undo(row)).toMatchObject({ code: 'plugin_failed' });
    expect(parts.store.ledger.byState('undo_failed')).toHaveLength(1);
  });

  it('has a name of its own', () => {
    const { jobs } = open(tempState());
    jobs.register('fake', build([]));
    expect(() => jobs.register('other', build([]))).toThrow('Two jobs are named fake.build');
  });
});
