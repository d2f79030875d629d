// The parts of ssh2 1.17.0 below its public API that we use; ssh2-protocol.test.ts pins them.
declare module 'ssh2/lib/protocol/Protocol.js' {
  const Protocol: new (config: object) => import('./ssh2-protocol.ts').Ssh2Protocol;
  export default Protocol;
}
declare module 'ssh2/lib/protocol/keyParser.js' {
  const keyParser: { parseKey(data: string | Buffer): import('./ssh2-protocol.ts').Ssh2Key | Error | readonly import('./ssh2-protocol.ts').Ssh2Key[] };
  export default keyParser;
}
declare module 'ssh2/lib/protocol/crypto.js' {
  const crypto: { readonly init: Promise<void> };
  export default crypto;
}
declare module 'ssh2/lib/protocol/utils.js' {
  const utils: { sendPacket(protocol: import('./ssh2-protocol.ts').Ssh2Protocol, packet: Buffer, bypass?: boolean): boolean };
  export default utils;
}
