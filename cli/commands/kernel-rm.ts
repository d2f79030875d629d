import type { Handler } from '../command.ts';
import { deleteEach } from '../artifacts.ts';

const handler: Handler = (ctx) => deleteEach(ctx, 'kernel.delete');
export default handler;
