import type { Scenario } from '../scenario.ts';
import { cleanHost, vmLifecycle, vmPrune } from './lifecycle.ts';
import { bareRun, concurrentRuns, detachRun, exitCode, invalidSpec } from './runs.ts';
import { sshConfig, vmSsh } from './ssh.ts';
import { workspace, workspaceRefusals } from './workspace.ts';

/** In order; `clean_host` looks at what the others left. */
export const scenarios: readonly Scenario[] = [bareRun, exitCode, concurrentRuns, detachRun, vmLifecycle, invalidSpec, vmSsh, sshConfig, workspace, workspaceRefusals, vmPrune, cleanHost];
