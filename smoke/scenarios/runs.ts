import { expect, must, type Scenario } from '../scenario.ts';

export const bareRun: Scenario = {
  name: 'bare_run', kind: 'pure', summary: 'vm run --rm prints what the command printed',
  async run(banger) {
    const out = await must(banger, 'vm', 'run', '--rm', '--', 'echo', 'smoke-bare-ok');
    expect(out === 'smoke-bare-ok\n', `unexpected output ${JSON.stringify(out)}`);
  },
};

export const exitCode: Scenario = {
  name: 'exit_code', kind: 'pure', summary: 'the exit code is the command\'s own',
  async run(banger) {
    const outcome = await banger('vm', 'run', '--rm', '--', 'sh', '-c', 'exit 42');
    expect(outcome.code === 42, 'exit code is not 42', outcome);
  },
};

export const concurrentRuns: Scenario = {
  name: 'concurrent_runs', kind: 'global', summary: 'two runs at once both succeed',
  async run(banger) {
    const outs = await Promise.all(['a', 'b'].map((word) => must(banger, 'vm', 'run', '--rm', '--', 'echo', word)));
    expect(outs.join('') === 'a\nb\n', `unexpected outputs ${JSON.stringify(outs)}`);
  },
};

export const detachRun: Scenario = {
  name: 'detach_run', kind: 'pure', summary: '-d refuses --rm and a command; bare -d leaves a VM that answers',
  async run(banger) {
    for (const args of [['-d', '--rm'], ['-d', '--', 'true']]) {
      const outcome = await banger('vm', 'run', ...args);
      expect(outcome.code === 2, `vm run ${args.join(' ')} was not refused`, outcome);
    }
    await must(banger, 'vm', 'run', '-d', '--name', 'smoke-detached');
    expect(await must(banger, 'vm', 'exec', 'smoke-detached', '--', 'echo', 'alive') === 'alive\n', 'the VM does not answer');
    await must(banger, 'vm', 'delete', 'smoke-detached');
  },
};

export const invalidSpec: Scenario = {
  name: 'invalid_spec', kind: 'global', summary: 'bad values and names are refused and leave no VM',
  async run(banger) {
    for (const args of [['--vcpu', '0'], ['--name', 'Bad_Name'], ['--name', '-edge']]) {
      const outcome = await banger('vm', 'create', ...args);
      expect(outcome.code === 2, `vm create ${args.join(' ')} was not refused with 2`, outcome);
    }
    expect(await must(banger, 'vm', 'list', '-q') === '', 'a VM was left');
  },
};
