// One call from its params to its result: validation both ways, op id, context, cancellation, errors.
import type { z } from 'zod';
import { badRequest, BangerError, cancelled, isBangerError, isExpected, unknownMethod } from '../errors.ts';
import type { Issue } from '../errors.ts';
import type { ProgressNotice } from '../api.ts';
import type { CallContext, Logger, Peer } from '../plugin-api.ts';
import { createOpId } from '../ids.ts';
import { createRpcEngine } from './peer.ts';
import { rpcCode } from './protocol.ts';
import type { RequestMessage } from './protocol.ts';
import type { RegisteredMethod } from './registry.ts';
import { faultBody, toErrorBody } from './wire-error.ts';
import type { RpcErrorBody } from './wire-error.ts';

/**
 * Runs a call that is an operation: lists it, keeps its stages and timeline, lets it be cancelled. It calls `run` once, with `call` or
 * with a context made from it, and gives back what `run` gave.
 */
export type OperationRunner = (
  method: { readonly name: string; readonly kind: string }, params: unknown, call: CallContext,
  run: (call: CallContext) => Promise<unknown>) => Promise<unknown>;

/** Where a call came from. */
export interface CallOrigin {
  readonly peer: Peer;
  readonly progress: (notice: ProgressNotice) => void;
}

export interface Call {
  readonly opId: string;
  /** A call of an unknown method reads. */
  readonly effect: 'read' | 'write';
  /** Aborts the handler's signal; the call still ends by itself. Only the first reason counts. */
  abort(reason: BangerError): void;
  /** The response as one line of JSON. Never rejects. */
  answer(): Promise<string>;
}

export interface Dispatcher {
  begin(request: RequestMessage, origin: CallOrigin): Call;
}

export interface DispatcherOptions {
  readonly methods: readonly RegisteredMethod[];
  readonly log: Logger;
  /** Without one, operations run as plain calls. */
  readonly operationRunner?: OperationRunner | undefined;
}

/** Params that the method's schema refuses; a protocol fault, so it has JSON-RPC's own number. */
class InvalidParams extends Error {
  readonly issues: readonly Issue[];
  constructor(issues: readonly Issue[]) {
    super('Invalid params');
    this.issues = issues;
  }
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const methods = new Map(options.methods.map((entry) => [entry.name, entry]));
  const engine = createRpcEngine<ActiveCall>({
    errorBody: (error, call, method) => describeError(error, call, { method, log: options.log }),
    checkResult: (call) => call.checkResult(),
    unknownMethod: (call, method) => {
      const body = faultBody(rpcCode.methodNotFound, unknownMethod(shorten(method)).message, call.opId);
      return { ...body, data: { ...body.data, hint: 'rpc.discover lists the methods' } };
    },
  });
  for (const { name } of options.methods) engine.add(name, (params, call) => call.run(params));
  return {
    begin: (request, origin) => new ActiveCall(request, origin, { ...options, entry: methods.get(request.method), receive: engine.receive }),
  };
}

interface ActiveCallParts extends DispatcherOptions {
  readonly entry: RegisteredMethod | undefined;
  readonly receive: (request: RequestMessage, call: ActiveCall) => Promise<string>;
}

class ActiveCall implements Call {
  readonly opId = createOpId();
  readonly effect: 'read' | 'write';
  readonly #request: RequestMessage;
  readonly #origin: CallOrigin;
  readonly #parts: ActiveCallParts;
  #controller: AbortController | undefined;
  #abortReason: BangerError | undefined;
  #result: unknown;

  constructor(request: RequestMessage, origin: CallOrigin, parts: ActiveCallParts) {
    this.#request = request;
    this.#origin = origin;
    this.#parts = parts;
    this.effect = parts.entry?.method.effect ?? 'read';
  }

  get abortReason(): BangerError | undefined {
    return this.#abortReason;
  }

  abort(reason: BangerError): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  answer(): Promise<string> {
    return this.#parts.receive(this.#request, this);
  }

  async run(rawParams: unknown): Promise<unknown> {
    const { name, method } = this.#parts.entry as RegisteredMethod;
    const params = (method.params as z.ZodType).safeParse(rawParams ?? {});
    if (!params.success) throw new InvalidParams(toIssues(params.error));
    if (this.#abortReason !== undefined) throw this.#abortReason;
    const call = this.#context(name);
    const runner = this.#parts.operationRunner;
    this.#result = method.operation === undefined || runner === undefined
      ? await method.handler(params.data, call)
      : await runner({ name, kind: method.operation }, params.data, call, async (inner) => method.handler(params.data, inner));
    return this.#result;
  }

  /** The result is sent as the handler gave it; this only refuses. */
  checkResult(): void {
    const { name, method } = this.#parts.entry as RegisteredMethod;
    const result = (method.result as z.ZodType).safeParse(this.#result);
    if (!result.success) throw new Error(`Method ${name} gave a result that its schema refuses`, { cause: result.error });
  }

  /** Logger and signal are made on first use: most calls need neither, and both cost more than the rest of a ping. */
  #context(name: string): CallContext {
    const { opId } = this;
    const { id } = this.#request;
    const { progress, peer } = this.#origin;
    const signal = (): AbortSignal => this.#signal();
    const makeLog = (): Logger => this.#parts.log.child({ opId, method: name });
    let log: Logger | undefined;
    return {
      opId,
      peer,
      get signal() {
        return signal();
      },
      get log() {
        log ??= makeLog();
        return log;
      },
      stage: (stage, detail) => progress({ id, stage, opId, ...(detail === undefined ? {} : { detail }) }),
      timeline: () => {},
    };
  }

  #signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }
}

/** Reason for `abort` by `rpc.cancel`, a lost client or a closing daemon. */
export function cancelledCall(method: string): BangerError {
  return cancelled(`Call ${method}`);
}

function describeError(error: unknown, call: ActiveCall, where: { readonly method: string; readonly log: Logger }): RpcErrorBody {
  const { opId } = call;
  if (error instanceof InvalidParams) {
    const shown = toErrorBody(badRequest(error.issues, `params of ${where.method}`), opId);
    return { ...shown, code: rpcCode.invalidParams };
  }
  if (isBangerError(error) && isExpected(error.code)) return toErrorBody(error, opId);
  // What an aborted handler throws is the abort, whatever it looks like: Node's own AbortError, or an error wrapped around it.
  if (call.abortReason !== undefined && isAbort(error)) return toErrorBody(call.abortReason, opId);
  where.log.error({ opId, method: where.method, err: error }, 'call failed unexpectedly');
  return toErrorBody(error, opId);
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || (error.cause instanceof Error && isAbort(error.cause)));
}

function toIssues(error: z.ZodError): readonly Issue[] {
  return error.issues.map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }));
}

/** A name is echoed to its sender, not a megabyte of it. */
function shorten(text: string): string {
  return text.length <= 64 ? text : `${text.slice(0, 64)}…`;
}

