// Entry of the daemon: keeps V8's compiled code between starts, then loads the rest. The cache must be on before anything big is imported.
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { resolvePaths } from '../core/paths.ts';

// Without a writable directory the daemon starts without it; the result says so to nobody.
enableCompileCache(join(resolvePaths().cacheDir, 'v8'));
await import('./bangerd-main.ts');
