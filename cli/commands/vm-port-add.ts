import type { VmForward } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { hostText, parsePorts } from '../port-text.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ args: [ref = '', ...texts], daemon, flags, io }) => {
  const wanted = texts.map((text) => parsePorts(text, 2));
  const client = await daemon();
  const forwards: VmForward[] = [];
  try {
    for (const { address, ports } of wanted) {
      const guestPort = ports.at(-1)!;
      const { forward } = await client.call('vm.port.add', {
        ref, guestPort, ...(ports.length === 2 ? { hostPort: ports[0] } : {}), ...(address === undefined ? {} : { address }), ...(flags.on('udp') ? { protocol: 'udp' as const } : {}),
      });
      forwards.push(forward);
      if (!flags.on('json')) io.out(`${hostText(forward)} -> ${guestPort}${forward.source === 'added' ? '' : ` (${forward.source})`}\n`);
    }
  } finally {
    // Also what was opened before one could not be: it stays open.
    if (flags.on('json') && forwards.length > 0) io.out(jsonText({ forwards }));
  }
};
export default handler;
