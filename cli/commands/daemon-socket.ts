import { resolvePaths } from '../../core/paths.ts';
import type { Handler } from '../command.ts';

const handler: Handler = async ({ io }) => io.out(`${resolvePaths(io.env).socket}\n`);
export default handler;
