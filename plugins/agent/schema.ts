import { z } from 'zod';

export const agentConfig = z.strictObject({
  ready_timeout_seconds: z.int().min(1).max(3600).default(60)
    .describe('How long a guest may take from power-on until its agent speaks; four times that under software emulation.'),
  shutdown_timeout_seconds: z.int().min(1).max(3600).default(20)
    .describe('How long a guest may take to power off cleanly; four times that under software emulation.'),
});
