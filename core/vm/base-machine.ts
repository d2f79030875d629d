// Machine and guest before any plugin added to them.
import type { Images, Kernels } from '../capabilities.ts';
import type { Contributions, Vm } from '../plugin-api.ts';

export interface BaseMachineDeps { readonly images: () => Images; readonly kernels: () => Kernels }

/** @throws not_found when the VM's image or kernel is gone */
export function createBaseMachine(deps: BaseMachineDeps): (vm: Vm) => Promise<Contributions> {
  return async (vm) => {
    const { spec } = vm;
    const [image, kernel] = await Promise.all([deps.images().get(spec.image), deps.kernels().get(spec.kernel)]);
    return {
      machine: {
        kernelPath: kernel.kernelPath, cmdline: kernel.cmdline, initrdPath: kernel.initrdPath,
        vcpu: spec.vcpu, memoryMiB: spec.memoryMiB, drives: [], nics: [],
      },
      guest: { hostname: vm.name, init: spec.init, mounts: [], files: [], env: { ...image.config.env, ...spec.env } },
    };
  };
}
