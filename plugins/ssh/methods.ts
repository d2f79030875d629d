// The methods for clients: how to reach a VM by ssh, and where the configuration for ssh is.
import { z } from 'zod';
import { notRunning, vmPaused } from '../../core/plugin-api.ts';
import type { RpcMethod, Vm, Vms } from '../../core/plugin-api.ts';
import type { ClientSide } from './client-side.ts';
import { defaultUser, includeLine, stanzaText } from './ssh-config.ts';

const vmSshParams = z.strictObject({
  ref: z.string().min(1).describe('id, name, or a beginning of one that fits a single VM'),
  stopped: z.boolean().optional().describe('answer for a VM that does not run, too'),
});
const vmSshResult = z.strictObject({
  host: z.string().describe('name for ssh: the VM\'s with .vm'),
  configFile: z.string().describe('for ssh -F'),
  user: z.string().describe('the user ssh logs in as unless told otherwise'),
  identityFile: z.string(), knownHostsFile: z.string(),
  stanza: z.string().describe('ssh configuration for this VM alone'),
  running: z.boolean(),
});
const sshConfigResult = z.strictObject({
  configFile: z.string().describe('ssh configuration for Host *.vm'),
  include: z.string().nullable().describe('line for ~/.ssh/config; null when its path cannot be written so that every client reads it alike'),
});

export interface SshMethodsParts { readonly client: ClientSide; readonly vms: Pick<Vms, 'resolve' | 'running' | 'isRunning' | 'isPaused'> }

/** `vm.ssh` and `ssh.config`. */
export function sshMethods(parts: SshMethodsParts): { readonly 'vm.ssh': RpcMethod<typeof vmSshParams, typeof vmSshResult>; readonly 'ssh.config': RpcMethod<z.ZodObject, typeof sshConfigResult> } {
  return { 'vm.ssh': vmSsh(parts), 'ssh.config': sshConfigMethod(parts.client) };
}

function vmSsh({ client, vms }: SshMethodsParts): RpcMethod<typeof vmSshParams, typeof vmSshResult> {
  return {
    summary: 'How ssh reaches a VM',
    effect: 'read', params: vmSshParams, result: vmSshResult, errors: ['not_found', 'ambiguous_ref', 'not_running', 'wrong_state'],
    async handler({ ref, stopped }, { signal }) {
      const vm = stopped ? vms.resolve(ref) : await running(vms, ref, signal);
      const config = await client.parts();
      return {
        host: `${vm.name}.vm`, configFile: client.configFile, user: defaultUser,
        identityFile: config.identityFile, knownHostsFile: config.knownHostsFile,
        stanza: stanzaText(config, vm.name), running: vms.isRunning(vm.id),
      };
    },
  };
}

/** One that was stopped while the call waited is not running either. @throws wrong_state for a paused one */
async function running(vms: SshMethodsParts['vms'], ref: string, signal: AbortSignal): Promise<Vm> {
  const vm = await vms.running(ref, signal);
  if (!vms.isRunning(vm.id)) throw notRunning(vm.name, 'it has stopped');
  if (vms.isPaused(vm.id)) throw vmPaused(vm.name);
  return vm;
}

function sshConfigMethod(client: ClientSide): RpcMethod<z.ZodObject, typeof sshConfigResult> {
  return {
    summary: 'Where the ssh configuration for all VMs is',
    effect: 'read', params: z.strictObject({}), result: sshConfigResult,
    async handler() {
      await client.parts();
      return { configFile: client.configFile, include: includeLine(client.configFile) ?? null };
    },
  };
}
