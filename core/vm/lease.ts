// A VM created with a lease lives as long as its client's connection.
import { cancelled, isBangerError } from '../errors.ts';
import { backgroundScope } from '../lifecycle/scope.ts';
import type { Peer } from '../plugin-api.ts';
import { keepTrack } from './context.ts';
import type { VmContext } from './context.ts';
import { deleteVm } from './delete.ts';

/** Ties a VM to a connection. The signal is aborted when the client is gone; the VM is then deleted as soon as its lock is free. */
export function holdLease(ctx: VmContext, vm: { readonly id: string; readonly name: string }, peer: Peer): AbortSignal {
  const gone = new AbortController();
  peer.onClose(() => {
    gone.abort(cancelled(`VM ${vm.name}, whose client went away,`));
    const op = backgroundScope(ctx.log);
    void keepTrack(ctx, deleteVm(ctx, vm.id, op).then(() => undefined, (error: unknown) => {
      // Deleted by its client just before, which is the ordinary end.
      if (isBangerError(error) && error.code === 'not_found') return;
      op.log.error({ err: error, vm: vm.name }, 'deleting a VM whose client went away failed');
    }));
  });
  return gone.signal;
}
