import type { Handler } from '../command.ts';
import { changeVms } from '../change-vms.ts';

const handler: Handler = (ctx) => changeVms(ctx, { method: 'vm.pause', done: 'paused' });
export default handler;
