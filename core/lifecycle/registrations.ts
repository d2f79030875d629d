// What plugins registered, as the plugin host hands it over: frozen, in plugin graph order, then declaration order.
import type {
  Change, Contributions, HostResource, PlanContext, SpecSection, Step, StopStep, UndoContext, Vm,
} from '../plugin-api.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- a registry holds steps of all plans and handles
export type AnyStep = Step<any, any>;

export interface StepRegistration { readonly plugin: string; readonly step: AnyStep }
export interface StopStepRegistration { readonly plugin: string; readonly stopStep: StopStep }
export type ContributionRegistration = {
  [K in keyof Contributions]: {
    readonly plugin: string;
    readonly to: K;
    readonly name: string;
    readonly fn: (value: Contributions[K], ctx: PlanContext) => Contributions[K] | Promise<Contributions[K]>;
  }
}[keyof Contributions];
export interface ReconfigureRegistration {
  readonly plugin: string;
  readonly name: string;
  readonly fn: (vm: Vm, change: Change, ctx: UndoContext) => Promise<void>;
}
export interface ResourceRegistration { readonly plugin: string; readonly name: string; readonly list: () => Promise<readonly HostResource[]> }
export interface SectionRegistration { readonly plugin: string; readonly section: SpecSection }
