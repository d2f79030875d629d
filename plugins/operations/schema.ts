import { z } from 'zod';

export const timelineEntry = z.object({
  name: z.string().describe('Step'),
  plugin: z.string().describe('Plugin that owns the step'),
  atMs: z.number().describe('Milliseconds after the operation began'),
  durationMs: z.number().optional().describe('Absent while the step runs'),
  outcome: z.enum(['ok', 'failed', 'skipped']).optional(),
});

export const operationView = z.object({
  id: z.string().describe('Operation id, as in errors and in the log'),
  kind: z.string().describe('Method or work: vm.create, image.pull'),
  subject: z.string().optional().describe('VM or image name'),
  state: z.enum(['running', 'done', 'failed', 'cancelled']),
  done: z.boolean(),
  stage: z.string().optional().describe('What it does now, or did last'),
  detail: z.string().optional(),
  startedAt: z.string().describe('RFC 3339'),
  finishedAt: z.string().optional().describe('RFC 3339'),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  timeline: z.array(timelineEntry),
});

export const operationRef = z.strictObject({ id: z.string().min(1).describe('Operation id') });
