// Entry of the bundle. `banger version` is answered here, before anything else loads.
import { writeSync } from 'node:fs';
import { buildInfo } from '../core/build-info.ts';
import { versionLine, versionText } from './version-text.ts';

const words = process.argv.slice(2);
const fast = words.length > 1 ? undefined : words[0] === 'version' ? versionText : words[0] === '--version' ? versionLine : undefined;
if (fast) writeSync(1, fast(buildInfo()));
else void import('./process-main.ts').then(({ main }) => main(words));
