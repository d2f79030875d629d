import type { Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { createProgress } from '../render/progress.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ args, daemon, io }) => {
  const params = parseParams(args[1] === '-' ? await readStdin() : args[1] ?? '{}');
  const progress = createProgress(io);
  try {
    const result = await (await daemon()).callAny(args[0]!, params, { onProgress: (notice) => progress.show(notice) });
    progress.end();
    io.out(jsonText(result));
  } finally {
    progress.end();
  }
};
export default handler;

function parseParams(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageError(`The parameters are no JSON: ${error instanceof Error ? error.message : String(error)}`, "such as '{\"ref\":\"devbox\"}'");
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw usageError('The parameters are no JSON object', "such as '{\"ref\":\"devbox\"}'");
  return value;
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
