// Sets up in the guest what the repository asks for: a script for the guest's own shell. Everything in it is best effort; what went wrong is in its log.
import { BangerError } from '../../core/plugin-api.ts';
import type { BootstrapPlan, PostCreate } from './bootstrap-plan.ts';
import { shown } from './bootstrap-plan.ts';

export { planBootstrap } from './bootstrap-plan.ts';
export type { BootstrapPlan, PostCreate } from './bootstrap-plan.ts';

/** Of a guest in which root's home is where it always is. */
export const bootstrapLog = '/root/.cache/banger/bootstrap.log';

export interface BootstrapOptions {
  /** Absolute path of the checkout in the guest. */
  readonly guestPath: string;
  /** Without one, pins are left out. @default true */
  readonly hasNetwork?: boolean;
  /** The log's lines go to stdout, too. @default false */
  readonly tee?: boolean;
}

/** One word of a POSIX shell, whatever is in it. */
const quote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

/**
 * A script for `sh -c` as root. Exits 0 when all of it worked (a guest without mise is no failure), 1 when something did not; output is in
 * `bootstrapLog`.
 */
export function bootstrapScript(plan: BootstrapPlan, options: BootstrapOptions): string {
  return [
    ...head,
    'main() {', `cd ${quote(options.guestPath)} || return 1`, ...miseLines(plan, options.hasNetwork ?? true), ...postCreateLines(plan.postCreate, options.guestPath),
    'return $failed', '}',
    ...(options.tee === true
      // The status of main, not that of tee.
      ? ['{ status=$({ { main </dev/null 2>&1; echo $? >&3; } | tee "$log" >&4; } 3>&1); } 4>&1', 'exit "${status:-1}"']
      : ['main </dev/null >"$log" 2>&1']),
    '',
  ].join('\n');
}

const head: readonly string[] = [
  'umask 022',
  'export HOME="${HOME:-/root}" MISE_YES=1',
  'export PATH="$HOME/.local/share/mise/shims:$HOME/.local/bin:$PATH"',
  'log=$HOME/.cache/banger/bootstrap.log',
  'mkdir -p "${log%/*}" || log=/dev/null',
  'failed=0',
  'step() { echo "+ $*"; "$@" || { echo "banger: it exited $?"; failed=1; }; }',
];

function miseLines({ mise, tools }: BootstrapPlan, hasNetwork: boolean): string[] {
  const pins = hasNetwork ? tools.map(({ name, version }) => `step mise use -g ${quote(`${name}@${version}`)}`) : [];
  const left = hasNetwork || tools.length === 0 ? [] : [`echo ${quote(`banger: not installed without a network: ${tools.map(({ name, version }) => shown(`${name} ${version}`)).join(', ')}`)}`];
  if (!mise && pins.length === 0) return left;
  return [
    'if command -v mise >/dev/null 2>&1; then',
    ...(mise ? ['step mise trust --quiet --all', 'step mise install'] : []), ...pins,
    'else', "echo 'banger: this image has no mise: the tools that the repository asks for are not installed'", 'fi', ...left,
  ];
}

function postCreateLines(command: PostCreate | undefined, guestPath: string): string[] {
  if (command === undefined) return [];
  if (typeof command === 'string' || isList(command)) return [`step ${words(command, guestPath)}`];
  // All at once, each with its own end.
  const entries = Object.entries(command);
  return [
    ...entries.flatMap(([name, one], n) => [`echo ${quote(`+ ${shown(name)}`)}`, `${words(one, guestPath)} &`, `pid${n}=$!`]),
    ...entries.map(([name], n) => `wait "$pid${n}" || { echo "banger: "${quote(shown(name))}" exited $?"; failed=1; }`),
  ];
}
const isList = (command: PostCreate): command is readonly string[] => Array.isArray(command);

function words(command: string | readonly string[], guestPath: string): string {
  const all = typeof command === 'string' ? ['sh', '-c', command] : command;
  return all.map((word) => quote(withFolders(word, guestPath))).join(' ');
}

/** The specification's names for the checkout. */
function withFolders(text: string, guestPath: string): string {
  return text.replaceAll('${containerWorkspaceFolder}', () => guestPath).replaceAll('${containerWorkspaceFolderBasename}', () => guestPath.slice(guestPath.lastIndexOf('/') + 1));
}

/** The refusal, before any VM is made, of a set-up that needs a network in a VM that has none. */
export function needsNetworkRefusal(plan: BootstrapPlan | undefined, hasNetwork: boolean): BangerError | undefined {
  if (plan === undefined || !plan.needsNetwork || hasNetwork) return undefined;
  const message = `${plan.files.join(' and ')} ${plan.files.length === 1 ? 'asks' : 'ask'} for tools that come over a network, and the VM has none`;
  return new BangerError('bad_request', message, { hint: '--no-bootstrap leaves them out; without --network none the VM has a network', detail: { issues: [{ path: 'bootstrap', message }] } });
}
