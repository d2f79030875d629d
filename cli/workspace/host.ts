// What of the host's side the CLI does without a daemon: looking at a repository, and work that was pulled. It runs git, and what runs programs takes
// longer to load than most commands take, so the bundle has this in a file of its own (scripts/bundle-cli.ts): import it when it is needed.
import { createExec } from '../../core/exec.ts';

export const exec = createExec();
export * from '../../plugins/workspace/shared.ts';
export { nameData, planData, planText } from './plan-text.ts';
