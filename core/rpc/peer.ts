// The only importer of json-rpc-2.0. The package dispatches and builds responses; what it does by default with names, errors and
// logging is replaced here: it overwrites methods silently, sends raw messages as code 0 and warns on the console.
import { createJSONRPCErrorResponse, createJSONRPCRequest, JSONRPCServer } from 'json-rpc-2.0';
import type { JSONRPCResponse } from 'json-rpc-2.0';
import type { RequestMessage } from './protocol.ts';
import type { RpcErrorBody } from './wire-error.ts';

export interface RpcEngineOptions<C> {
  /** Every error of a method, and the missing method, become a response through this. */
  errorBody(error: unknown, context: C, method: string): RpcErrorBody;
  unknownMethod(context: C, method: string): RpcErrorBody;
  /** Throws when the method's result is not what it promised; called for answers short enough to be checked at no noticeable cost. */
  checkResult(context: C): void;
}

export interface RpcEngine<C> {
  /** @throws Error when the name is taken. */
  add(name: string, run: (params: unknown, context: C) => Promise<unknown>): void;
  /** Answers one request that `parseIncoming` let through. Never rejects; the text has no newline. */
  readonly receive: (request: RequestMessage, context: C) => Promise<string>;
}

/** Carries a mapped error through the package, so that nothing else can reach a client. */
class MappedError extends Error {
  readonly body: RpcErrorBody;
  constructor(body: RpcErrorBody) {
    super(body.message);
    this.body = body;
  }
}

/** Checking 1,000 VM records takes longer than all else of `vm.list`; the same method is checked whenever it gives a few. */
const maxCheckedLength = 16 * 1024;

export function createRpcEngine<C>(options: RpcEngineOptions<C>): RpcEngine<C> {
  // The listener only repeats what the methods' own wrapper below has already mapped and logged.
  const server = new JSONRPCServer<C>({ errorListener: () => {} });
  server.mapErrorToJSONRPCErrorResponse = (id, error: unknown) => {
    const body = error instanceof MappedError ? error.body : undefined;
    if (body === undefined) throw error; // `receive` turns it into an internal error
    return createJSONRPCErrorResponse(id, body.code, body.message, body.data);
  };
  return {
    add(name, run) {
      if (server.hasMethod(name)) throw new Error(`Method ${name} is already there`);
      server.addMethod(name, async (params: unknown, context: C) => {
        try {
          return await run(params, context);
        } catch (error) {
          throw new MappedError(options.errorBody(error, context, name));
        }
      });
    },
    async receive(request, context) {
      const { id, method, params } = request;
      try {
        const response: JSONRPCResponse | null = server.hasMethod(method)
          ? await server.receive(createJSONRPCRequest(id, method, params), context)
          : errorResponse(request, options.unknownMethod(context, method));
        const text = JSON.stringify(response);
        if (response?.error === undefined && text.length <= maxCheckedLength) options.checkResult(context);
        return text;
      } catch (error) {
        // A result or an error detail that is no JSON (a cycle, a BigInt), or a fault in the package.
        return JSON.stringify(errorResponse(request, options.errorBody(error, context, method)));
      }
    },
  };
}

function errorResponse(request: RequestMessage, body: RpcErrorBody): JSONRPCResponse {
  return createJSONRPCErrorResponse(request.id, body.code, body.message, body.data);
}
