import type { Handler } from '../command.ts';
import { printInOrder, type Outcome } from '../refs.ts';

const handler: Handler = async (ctx) => {
  const daemon = await ctx.daemon();
  return printInOrder(ctx, [...new Set(ctx.args)].map(async (id): Promise<Outcome> => {
    try {
      const { operation } = await daemon.call('daemon.operations.cancel', { id });
      return { text: `${operation.id} ${operation.done ? operation.state : 'is being cancelled'}\n` };
    } catch (error) {
      return { error };
    }
  }));
};
export default handler;
