// The protocol's own methods: `rpc.hello` and `rpc.discover`.
import { z } from 'zod';
import { BangerError } from '../errors.ts';
import { protocolVersion } from '../api.ts';
import type { HelloResult } from '../api.ts';
import type { CallContext, RpcMethod } from '../plugin-api.ts';
import { describeMethods } from './discover.ts';
import type { OpenRpcDocument } from './discover.ts';
import type { RegisteredMethod } from './registry.ts';

/** What the daemon says of itself in a hello. */
export interface HelloInfo {
  readonly version: string;
  /** Identifies the build, such as version and commit. */
  readonly build: string;
  /** Whether a newer client may restart this daemon now; asked at each hello. The asking client is not counted by the server. */
  idle(): boolean;
}

const helloParams = z.strictObject({
  protocol: z.string().regex(/^\d{1,6}\.\d{1,6}$/).describe('Protocol version of the client, major.minor'),
  build: z.string().max(200).describe('Build of the client'),
});
const helloResult = z.strictObject({ protocol: z.string(), build: z.string(), version: z.string(), pid: z.int(), idle: z.boolean() });

export interface BuiltinParts {
  readonly hello: HelloInfo;
  registered(): readonly RegisteredMethod[];
  /** The client of another major must get no other answer on this connection. */
  refuseCalls(peerId: string, error: BangerError): void;
}

/** @throws bad_version (from `rpc.hello`) for another major; `detail` holds what a hello would have said. */
export function createBuiltinMethods(parts: BuiltinParts): readonly RegisteredMethod[] {
  const hello: RpcMethod<typeof helloParams, typeof helloResult> = {
    summary: 'Exchanges protocol version and build; should be the first call',
    effect: 'read',
    params: helloParams,
    result: helloResult,
    errors: ['bad_version'],
    handler(params, call: CallContext) {
      const own: HelloResult = { protocol: protocolVersion, build: parts.hello.build, version: parts.hello.version, pid: process.pid, idle: parts.hello.idle() };
      if (major(params.protocol) === major(protocolVersion)) return own;
      const error = badVersion(params.protocol, own);
      parts.refuseCalls(call.peer.id, error);
      throw error;
    },
  };
  let document: OpenRpcDocument | undefined;
  const discover: RpcMethod = {
    summary: 'Describes all methods as an OpenRPC document',
    effect: 'read',
    params: z.strictObject({}),
    result: z.looseObject({ openrpc: z.string() }),
    handler() {
      // Made once: the registry is frozen, and turning every schema takes a moment.
      document ??= describeMethods(parts.hello.version, all());
      return document;
    },
  };
  const builtin: readonly RegisteredMethod[] = [
    { name: 'rpc.discover', owner: 'core', method: discover },
    { name: 'rpc.hello', owner: 'core', method: hello },
  ];
  const all = (): readonly RegisteredMethod[] => [...parts.registered(), ...builtin].sort((a, b) => (a.name < b.name ? -1 : 1));
  return builtin;
}

function major(protocol: string): string {
  return protocol.split('.', 1)[0] as string;
}

function badVersion(theirs: string, own: HelloResult): BangerError {
  return new BangerError('bad_version', `Client speaks protocol ${theirs}, the daemon ${own.protocol}`, {
    hint: 'restart the daemon: banger daemon stop', detail: { ...own },
  });
}
