// Shapes of the copy plugin: configuration and RPC.
import { z } from 'zod';

export const copyConfig = z.strictObject({
  stall_timeout_seconds: z.int().min(1).max(86_400).default(60)
    .describe('A copy ends when the guest, while it is its turn, moves less than 1 KiB a second over this long; four times that under software emulation.'),
});
export type CopyConfig = z.output<typeof copyConfig>;

/** A file name: one part of a path. */
const fileName = z.string().min(1).max(255).refine((name) => !/[/\0]/.test(name) && name !== '.' && name !== '..', 'must be the name of one file');

const onlyIn = ['name', 'place', 'owners', 'devices', 'sync'] as const;
const onlyOut = ['base', 'contents'] as const;

export const copyParams = z.strictObject({
  ref: z.string().min(1).max(128).describe('VM id, name, or a unique prefix of either'),
  direction: z.enum(['in', 'out']).describe('in: a tar stream from the client is put at the path; out: the path is sent as one'),
  path: z.string().min(1).max(4095).refine((path) => !path.includes('\0'), 'holds a NUL character')
    .describe("Path in the guest; a relative one is below the user's home"),
  user: z.string().min(1).max(128).optional().describe('As whom in the guest: user[:group]; default root'),
  contents: z.boolean().optional().describe('out: what is in the directory, not the directory'),
  base: fileName.optional().describe('out: name of the tree in the stream; default: the last part of the path'),
  name: fileName.optional().describe("in: where the path is a directory, the stream's one tree goes there under this name"),
  place: z.enum(['into', 'as']).optional().describe('in: into the directory at the path, made when missing, or as the path itself; default: as what is there suggests'),
  owners: z.boolean().optional().describe('in: keep numeric owners, setuid bits and privileged attributes; only root can. Default true'),
  devices: z.boolean().optional().describe('in: make device nodes; only root can. Default false'),
  sync: z.boolean().optional().describe('in: write it to the disk before the end. Default false'),
  direct: z.boolean().optional().describe('The client moves the tar stream itself where the VM has a way for that. Default false'),
}).superRefine((params, ctx) => {
  for (const key of params.direction === 'in' ? onlyOut : onlyIn) {
    if (params[key] !== undefined) ctx.addIssue({ code: 'custom', path: [key], message: `is for the direction ${params.direction === 'in' ? 'out' : 'in'}` });
  }
  if (params.name !== undefined && params.place !== undefined) ctx.addIssue({ code: 'custom', path: ['name'], message: 'and place exclude each other' });
});
export type CopyParams = z.output<typeof copyParams>;

/** What the client's end of a direct copy needs. */
export const directWay = z.object({
  socket: z.string().describe('Path of the unix socket at whose other end the guest is'),
  hello: z.string().regex(/^[0-9a-f]{32}$/).describe("16 bytes in hexadecimal that both ends say first, the client before the guest; what comes before them is an earlier copy's"),
  stallLimitMs: z.number().describe('How long the turns of the guest may last in sum while less than the floor moves'),
  floorBytesPerSecond: z.number().describe('Slower than this over the whole limit counts as standing still'),
});

export const copyResult = z.object({
  ticket: z.string().describe('For the byte stream: stdin takes the tar stream, or stdout gives it'),
  direct: directWay.optional().describe('The tar stream goes this way; of the byte stream, stderr and the exit are left, and an empty stdin says that the client is through'),
});
