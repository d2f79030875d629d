import { z } from 'zod';
import { definePlugin, Operations } from '../../core/plugin-api.ts';
import { cancelMethod, listMethod, showMethod } from './methods.ts';

export default definePlugin({
  name: 'operations',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Shows and cancels long-running work.',
  requires: [Operations],
  config: z.strictObject({}),
  setup(ctx) {
    const operations = ctx.use(Operations);
    ctx.rpc('daemon.operations.list', listMethod(operations));
    ctx.rpc('daemon.operations.show', showMethod(operations));
    ctx.rpc('daemon.operations.cancel', cancelMethod(operations));
  },
});
