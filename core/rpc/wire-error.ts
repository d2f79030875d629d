// Errors to and from the wire. Both ends import this, so it imports only core/errors.ts.
import { BangerError, isBangerError, isExpected } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { WireError } from '../api.ts';
import { rpcCode } from './protocol.ts';

/** The `error` member of a JSON-RPC response. */
export interface RpcErrorBody { readonly code: number; readonly message: string; readonly data: WireError }

/** What a person may see of an error: expected ones as they are, anything else as "internal error". Never a stack, never a cause. */
export function toErrorBody(error: unknown, opId: string): RpcErrorBody {
  if (isBangerError(error) && isExpected(error.code)) {
    const data: WireError = {
      code: error.code, opId,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.detail === undefined ? {} : { detail: error.detail }),
    };
    return { code: rpcCode.banger, message: error.message, data };
  }
  return internalErrorBody(opId);
}

export function internalErrorBody(opId: string): RpcErrorBody {
  return { code: rpcCode.banger, message: 'internal error', data: { code: 'internal', opId, hint: 'the daemon log has the details: banger daemon logs' } };
}

/** A fault of the protocol itself, with JSON-RPC's own number. */
export function faultBody(code: number, message: string, opId: string): RpcErrorBody {
  return { code, message, data: { code: code === rpcCode.methodNotFound ? 'unknown_method' : 'bad_request', opId } };
}

/** The error a caller of the client gets. The op id is in `detail.opId`. */
export function fromErrorBody(body: unknown): BangerError {
  const { code, message, data } = (typeof body === 'object' && body !== null ? body : {}) as Partial<Record<'code' | 'message' | 'data', unknown>>;
  const wire = (typeof data === 'object' && data !== null ? data : {}) as Partial<WireError>;
  const word = typeof wire.code === 'string' ? wire.code : code === rpcCode.methodNotFound ? 'unknown_method' : 'internal';
  return new BangerError(word as ErrorCode, typeof message === 'string' ? message : 'internal error', {
    ...(typeof wire.hint === 'string' ? { hint: wire.hint } : {}),
    detail: { ...wire.detail, ...(typeof wire.opId === 'string' ? { opId: wire.opId } : {}) },
  });
}
