// A fake daemon as a process: `node fake-bangerd.ts <hello.json>`; ends on `shutdown`, and quietly when another one listens.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FakeDaemon, FakeError } from './fake-daemon.ts';

const dir = join(process.env['XDG_STATE_HOME']!, '..');
const script = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as { hello: object; fail?: string; version?: 1 };
appendFileSync(join(dir, 'starts'), `${process.pid}\n`);
const daemon = new FakeDaemon(dir);
Object.assign(daemon.hello, script.hello);
daemon.options = {
  methods: {
    shutdown: () => {
      setImmediate(() => void daemon.close().then(() => process.exit(0)));
      return { pid: process.pid };
    },
    'daemon.operations.list': () => ({ operations: [{ id: 'op-1', kind: 'image.pull', subject: 'debian', state: 'running', done: false }] }),
    'vm.start': () => {
      throw new FakeError('busy', 'VM is busy');
    },
  },
};
if (script.fail !== undefined) {
  writeFileSync(join(dir, 'state', 'banger', 'bangerd.start-error'), script.fail);
  process.exit(1);
}
daemon.listen().catch(() => process.exit(0));
