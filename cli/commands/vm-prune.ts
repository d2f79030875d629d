import { createInterface } from 'node:readline/promises';
import type { CommandContext, Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { printInOrder, type Outcome } from '../refs.ts';
import { vmTable } from './vm-list.ts';

/** Never one that runs, starts or stops. */
const prunable: ReadonlySet<string> = new Set(['created', 'stopped', 'error']);

const handler: Handler = async (ctx) => {
  const daemon = await ctx.daemon();
  const { vms, columns } = await daemon.call('vm.list', {}, { read: true });
  const doomed = vms.filter((vm) => prunable.has(vm.state));
  if (doomed.length === 0) {
    ctx.io.out('Nothing to prune\n');
    return 0;
  }
  if (!ctx.flags.on('force') && !(await confirm(ctx, vmTable({ vms: doomed, columns }), doomed.length))) return 1;
  return printInOrder(ctx, doomed.map(async (vm): Promise<Outcome> => {
    try {
      await daemon.call('vm.delete', { ref: vm.id });
      return { text: `${vm.name} deleted\n` };
    } catch (error) {
      return { error };
    }
  }));
};
export default handler;

async function confirm({ io }: CommandContext, listing: string, count: number): Promise<boolean> {
  if (!io.isTty(0)) throw usageError('banger vm prune asks first, and stdin is no terminal', 'banger vm prune -f does not ask');
  io.out(listing);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await prompt.question(`Delete ${count === 1 ? 'this VM' : `these ${count} VMs`} with all disks? [y/N] `)).trim());
  } finally {
    prompt.close();
  }
}
