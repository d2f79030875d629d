// The host's disk runs full: the guest sees an error, the VM says why, nothing else is harmed.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeHost } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

test('a full host disk is an error in the guest and a reason on the VM', async (ctx) => {
  if (process.getuid?.() !== 0) ctx.skip('needs root to mount a small file system');
  const small = mkdtempSync(join(tmpdir(), 'banger-small-'));
  chmodSync(small, 0o711);
  expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=420m,mode=0711', 'tmpfs', small]).status).toBe(0);
  const host = await makeHost({ config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins.disks]\nmin_free_mib = 16\n', stateParent: small });
  try {
    await host.ok(['vm', 'run', '--name', 'filler', '--disk-size', '1G', '-d']);
    const fill = await host.banger(['vm', 'exec', 'filler', '--', 'dd', 'if=/dev/urandom', 'of=/root/big', 'bs=1M', 'count=900', 'oflag=direct'], { timeoutMs: 240_000 });
    expect(fill.code).not.toBe(0);
    expect(fill.err).toMatch(/error|No space/i);
    const vm = await waitFor('the VM to say why', async () => {
      const view = await host.vm('filler');
      return /disk/i.test(view.stateReason ?? '') ? view : undefined;
    });
    expect(vm.stateReason).toMatch(/full|space/i);
    expect((await host.ok(['vm', 'list'])).out).toContain('filler');
    // Nothing else is harmed: the daemon still writes its ledger and deletes the VM.
    await host.ok(['vm', 'delete', 'filler']);
    expect(await host.marked()).toEqual([]);
  } finally {
    await host.dispose();
    spawnSync('umount', [small]);
    rmSync(small, { recursive: true, force: true });
  }
});
