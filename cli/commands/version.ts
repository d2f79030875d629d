import { buildInfo } from '../../core/build-info.ts';
import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { versionText } from '../version-text.ts';

const handler: Handler = async ({ flags, io }) => {
  io.out(flags.on('json') ? jsonText(buildInfo()) : versionText(buildInfo()));
};
export default handler;
