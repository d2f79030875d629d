// Params and results of the built-in methods, for the typed client. Types only; the daemon's schemas are the judges.
import type {
  CliSpec, DaemonStatus, DoctorReport, HelloParams, HelloResult, KeptCommand, LeakReport, OperationView, ReclaimResult, VmConsoleResult, VmCopyParams, VmCopyResult, VmCreateParams,
  VmExecDetachParams, VmForward, VmPortAddParams, VmPortListResult, VmPortRmParams, VmPortsParams, VmPortsResult, VmExecLogsParams, VmExecParams, VmExecResult, VmHealth, VmListResult, VmLogsParams, VmLogsResult, VmPing, VmPlanResult, VmRecoverResult, VmStatsParams, VmStatsResult, VmView,
  WorkspaceExportParams, WorkspacePrepareParams, WorkspacePrepareResult, WorkspacePullParams, WorkspacePullResult, WorkspaceStatusResult,
} from '../api.ts';
import type { Json } from '../model.ts';
import type { PluginStatus } from '../plugin-api.ts';
import type { OpenRpcDocument } from './discover.ts';

type None = Readonly<Record<string, never>>;
export interface RefParams { readonly ref: string }
interface VmResult { readonly vm: VmView }
interface OperationResult { readonly operation: OperationView }
interface Deleted { readonly id: string; readonly name: string }

export interface ArtifactView {
  readonly id: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAt: string;
  readonly source: string;
  /** VMs made from it. */
  readonly inUseBy: number;
}
export interface VmSetParams extends RefParams {
  readonly vcpu?: number | undefined;
  readonly memoryMiB?: number | undefined;
  /** Plugin name to raw flag values. */
  readonly sections?: Readonly<Record<string, Json>> | undefined;
}
export interface PingResult { readonly pid: number; readonly version: string; readonly build: string }

/** How ssh reaches a VM. Paths are absolute. */
export interface VmSshResult {
  /** Name for ssh: the VM's with `.vm`. */
  readonly host: string;
  readonly configFile: string;
  readonly user: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** ssh configuration for this VM alone. */
  readonly stanza: string;
  readonly running: boolean;
}

export interface RpcMethods {
  'rpc.hello': { params: HelloParams; result: HelloResult };
  'rpc.discover': { params: None; result: OpenRpcDocument };
  ping: { params: None; result: PingResult };
  shutdown: { params: None; result: { readonly pid: number } };
  'daemon.status': { params: None; result: DaemonStatus };
  'daemon.operations.list': { params: None; result: { readonly operations: readonly OperationView[] } };
  'daemon.operations.show': { params: { readonly id: string }; result: OperationResult };
  'daemon.operations.cancel': { params: { readonly id: string }; result: OperationResult };
  'vm.create': { params: VmCreateParams; result: VmResult };
  'vm.create.begin': { params: VmCreateParams; result: OperationResult };
  'vm.create.status': { params: { readonly id: string }; result: OperationResult & { readonly vm?: VmView } };
  'vm.create.cancel': { params: { readonly id: string }; result: OperationResult };
  'vm.plan': { params: VmCreateParams; result: VmPlanResult };
  'vm.list': { params: None; result: VmListResult };
  'vm.show': { params: RefParams; result: VmResult };
  'vm.start': { params: RefParams; result: VmResult };
  'vm.stop': { params: RefParams; result: VmResult };
  'vm.restart': { params: RefParams; result: VmResult };
  'vm.pause': { params: RefParams; result: VmResult };
  'vm.resume': { params: RefParams; result: VmResult };
  /** `reset`: what to make anew, its contents lost, such as `root`. */
  'vm.recover': { params: RefParams & { readonly reset?: readonly string[] | undefined }; result: VmRecoverResult };
  'vm.kill': { params: RefParams & { readonly signal?: string | undefined }; result: VmResult };
  'vm.delete': { params: RefParams; result: Deleted };
  'vm.set': { params: VmSetParams; result: VmResult };
  'vm.workspace.prepare': { params: WorkspacePrepareParams; result: WorkspacePrepareResult };
  'vm.workspace.status': { params: RefParams; result: WorkspaceStatusResult };
  /** The ticket's stream is that of `vm.exec`: stdout is the patch. */
  'vm.workspace.export': { params: WorkspaceExportParams; result: { readonly ticket: string } };
  'vm.workspace.pull': { params: WorkspacePullParams; result: WorkspacePullResult };
  'vm.copy': { params: VmCopyParams; result: VmCopyResult };
  'vm.exec': { params: VmExecParams; result: VmExecResult };
  'vm.exec.detach': { params: VmExecDetachParams; result: { readonly id: string } };
  'vm.exec.list': { params: RefParams; result: { readonly commands: readonly KeptCommand[] } };
  'vm.exec.logs': { params: VmExecLogsParams; result: VmExecResult };
  'vm.ports': { params: VmPortsParams; result: VmPortsResult };
  'vm.port.add': { params: VmPortAddParams; result: { readonly forward: VmForward } };
  'vm.port.rm': { params: VmPortRmParams; result: { readonly forward: VmForward } };
  'vm.port.list': { params: { readonly refs?: readonly string[] | undefined }; result: VmPortListResult };
  'vm.logs': { params: VmLogsParams; result: VmLogsResult };
  'vm.console': { params: RefParams; result: VmConsoleResult };
  'vm.ssh': { params: RefParams & { readonly stopped?: boolean | undefined }; result: VmSshResult };
  'ssh.config': { params: None; result: { readonly configFile: string; readonly include: string | null } };
  'vm.stats': { params: VmStatsParams; result: VmStatsResult };
  'vm.health': { params: Pick<VmStatsParams, 'refs'>; result: { readonly health: readonly VmHealth[] } };
  'vm.ping': { params: Pick<VmStatsParams, 'refs'>; result: { readonly pings: readonly VmPing[] } };
  /** OpenMetrics text. */
  'stats.metrics': { params: None; result: { readonly text: string } };
  'image.list': { params: None; result: { readonly images: readonly ArtifactView[] } };
  'image.show': { params: RefParams; result: { readonly image: ArtifactView } };
  'image.delete': { params: RefParams; result: Deleted };
  'image.pull': { params: RefParams; result: { readonly image: ArtifactView } };
  'kernel.list': { params: None; result: { readonly kernels: readonly ArtifactView[] } };
  'kernel.show': { params: RefParams; result: { readonly kernel: ArtifactView } };
  'kernel.delete': { params: RefParams; result: Deleted };
  'kernel.pull': { params: RefParams; result: { readonly kernel: ArtifactView } };
  'plugin.list': { params: None; result: { readonly plugins: readonly PluginStatus[] } };
  'plugin.cli': { params: None; result: CliSpec };
  'doctor.run': { params: None; result: DoctorReport };
  'doctor.leaks': { params: None; result: LeakReport };
  'doctor.reclaim': { params: None; result: ReclaimResult };
}
export type RpcMethodName = keyof RpcMethods;
