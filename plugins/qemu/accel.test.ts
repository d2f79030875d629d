import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { chooseAccelerator } from './accel.ts';

describe('chooseAccelerator', () => {
  let dir: string;
  beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-accel-')); });
  afterEach(() => { rmSync(dir, { recursive: true, force: true }); });

  const host = (flags: string | undefined, kvmMode: number | undefined, uid = 1000) => {
    const kvmPath = join(dir, 'kvm');
    const cpuinfoPath = join(dir, 'cpuinfo');
    if (kvmMode !== undefined) { writeFileSync(kvmPath, ''); chmodSync(kvmPath, kvmMode); }
    if (flags !== undefined) writeFileSync(cpuinfoPath, `processor\t: 0\nflags\t\t: fpu ${flags} sse2\nbugs\t\t:\n`);
    return { kvmPath, cpuinfoPath, uid };
  };

  test.each(['vmx', 'svm'])('auto takes kvm where the device opens and the CPU has %s', (flag) => {
    expect(chooseAccelerator('auto', host(flag, 0o666)).name).toBe('kvm');
  });
  test('auto takes tcg where the device opens but the CPU shows no virtualisation', () => {
    const choice = chooseAccelerator('auto', host('xsvmx', 0o666));
    expect(choice).toMatchObject({ name: 'tcg', reason: expect.stringContaining('neither vmx nor svm') });
  });
  test('auto takes tcg without a device, and says so', () => {
    expect(chooseAccelerator('auto', host('vmx', undefined))).toMatchObject({ name: 'tcg', reason: expect.stringContaining('ENOENT') });
  });
  test('auto takes tcg where the CPU cannot be told', () => {
    expect(chooseAccelerator('auto', host(undefined, 0o666)).name).toBe('tcg');
  });
  test('kvm insists against the CPU flags', () => {
    expect(chooseAccelerator('kvm', host('sse', 0o666)).name).toBe('kvm');
  });
  test('tcg is never overruled', () => {
    expect(chooseAccelerator('tcg', host('vmx', 0o666)).name).toBe('tcg');
  });
  test('as root a device for root only does not serve VMMs, which have another uid', ({ skip }) => {
    skip(process.getuid?.() !== 0, 'only root can open a device that is closed to others');
    expect(chooseAccelerator('auto', host('vmx', 0o600, 0))).toMatchObject({ name: 'tcg', reason: expect.stringContaining('root only') });
  });
});
