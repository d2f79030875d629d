// vm.port.add, vm.port.rm and vm.port.list.
import type { z } from 'zod';
import { isBangerError, unsupported } from '../../core/plugin-api.ts';
import type { RpcMethod, Vm, Vms } from '../../core/plugin-api.ts';
import type { PortForwards } from '../usernet/capability.ts';
import type { PortsByVm } from './ports-by-vm.ts';
import { addParams, forwardResult, listParams, listResult, removeParams } from './schema.ts';
import type { VmPorts } from './vm-ports.ts';

export interface MethodDeps {
  readonly vms: Pick<Vms, 'running' | 'resolve' | 'list' | 'isRunning'>;
  readonly ports: PortsByVm;
  readonly forwards: Pick<PortForwards, 'list' | 'unforwarded'>;
  address(vm: Vm): string;
}
export interface PortMethods {
  readonly 'vm.port.add': RpcMethod<typeof addParams, typeof forwardResult>;
  readonly 'vm.port.rm': RpcMethod<typeof removeParams, typeof forwardResult>;
  readonly 'vm.port.list': RpcMethod<typeof listParams, typeof listResult>;
}
type ListEntry = z.input<typeof listResult>['vms'][number];

export function portMethods(deps: MethodDeps): PortMethods {
  const { vms, ports } = deps;
  const errors = ['not_found', 'ambiguous_ref', 'not_running', 'unsupported'];
  const portsOf = async (ref: string, signal: AbortSignal): Promise<VmPorts> => {
    const vm = await vms.running(ref, signal);
    const found = ports.get(vm.id);
    if (found === undefined) throw unsupported(`VM ${vm.name} was started by an older banger, which knew no ports that change`, `banger vm restart ${vm.name}`);
    return found;
  };
  return {
    'vm.port.add': {
      summary: "Offers a port of a running VM's guest on this host, until the VM stops or the port is removed", effect: 'write',
      params: addParams, result: forwardResult, errors: [...errors, 'busy', 'operation_failed'],
      handler: async ({ ref, protocol = 'tcp', ...request }, call) => ({ forward: await (await portsOf(ref, call.signal)).add({ ...request, protocol }) }),
    },
    'vm.port.rm': {
      summary: 'Ends an added port; connections that it gave live on', effect: 'write',
      params: removeParams, result: forwardResult, errors: [...errors, 'wrong_state'],
      handler: async ({ ref, protocol = 'tcp', ...request }, call) => ({ forward: await (await portsOf(ref, call.signal)).remove({ ...request, protocol }) }),
    },
    'vm.port.list': {
      summary: 'The forwarded ports of running VMs: published, added and automatic ones, and what is not forwarded and why', effect: 'read',
      params: listParams, result: listResult, errors: ['not_found', 'ambiguous_ref'],
      handler: async ({ refs }, call) => {
        const wanted = refs === undefined ? vms.list().filter((vm) => vms.isRunning(vm.id)) : refs.map((ref) => vms.resolve(ref));
        return { vms: await Promise.all([...new Map(wanted.map((vm) => [vm.id, vm])).values()].map((vm) => listOne(deps, vm, call.signal))) };
      },
    },
  };
}

async function listOne(deps: MethodDeps, vm: Vm, signal: AbortSignal): Promise<ListEntry> {
  const entry = { vm: { id: vm.id, name: vm.name }, address: deps.address(vm), auto: false, forwards: [], unforwarded: [], notices: [] };
  try {
    // Also waits for a daemon that has just come up to have the VM's ports again.
    await deps.vms.running(vm.id, signal);
  } catch (error) {
    if (!isBangerError(error) || signal.aborted) throw error;
    const { code, message, hint } = error;
    return { ...entry, error: { code, message, ...(hint === undefined ? {} : { hint }) } };
  }
  const ports = deps.ports.get(vm.id);
  return {
    ...entry, auto: ports?.isAuto ?? false,
    forwards: deps.forwards.list(vm).toSorted((a, b) => a.hostPort - b.hostPort || (a.protocol < b.protocol ? -1 : 1)).map((forward) => ({ ...forward })),
    unforwarded: deps.forwards.unforwarded(vm).map((port) => ({ ...port })), notices: ports?.notices() ?? [],
  };
}
