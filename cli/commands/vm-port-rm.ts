import type { VmForward } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { hostText, parsePorts } from '../port-text.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ args: [ref = '', ...texts], daemon, flags, io }) => {
  const wanted = texts.map((text) => parsePorts(text, 1));
  const client = await daemon();
  const forwards: VmForward[] = [];
  for (const { address, ports } of wanted) {
    const { forward } = await client.call('vm.port.rm', {
      ref, hostPort: ports[0]!, ...(address === undefined ? {} : { address }), ...(flags.on('udp') ? { protocol: 'udp' as const } : {}),
    });
    forwards.push(forward);
    if (!flags.on('json')) io.out(`${hostText(forward)} removed\n`);
  }
  if (flags.on('json')) io.out(jsonText({ forwards }));
};
export default handler;
