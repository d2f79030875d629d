import type { Handler } from '../command.ts';
import { deleteEach } from '../artifacts.ts';

const handler: Handler = (ctx) => deleteEach(ctx, 'image.delete');
export default handler;
