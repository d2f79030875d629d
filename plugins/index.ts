// The built-in plugins: one explicit list. The capability graph decides the boot order; ties go by this one.
import type { AnyPlugin } from '../core/plugins/definition.ts';
import agent from './agent/plugin.ts';
import copy from './copy/plugin.ts';
import disks from './disks/plugin.ts';
import fileSync from './file-sync/plugin.ts';
import images from './images/plugin.ts';
import kernels from './kernels/plugin.ts';
import operations from './operations/plugin.ts';
import ports from './ports/plugin.ts';
import qemu from './qemu/plugin.ts';
import ssh from './ssh/plugin.ts';
import stats from './stats/plugin.ts';
import usernet from './usernet/plugin.ts';
import workspace from './workspace/plugin.ts';

export const builtinPlugins: readonly AnyPlugin[] = [operations, images, kernels, disks, agent, copy, usernet, ssh, qemu, fileSync, workspace, stats, ports];
