import { describe, expect, it } from 'vitest';
import type { Phase } from '../model.ts';
import { createStartHook } from './hooks.ts';
import { inStartOrder, limitOf } from './phases.ts';
import type { StepRegistration } from './registrations.ts';

const step = (name: string, phase: Phase): StepRegistration =>
  ({ plugin: 'p', step: { name, phase, timeoutMs: 1_000, plan: () => undefined, run: () => Promise.resolve(null) } });
const mixed = [step('p.publish', 'publish'), step('p.boot', 'boot'), step('p.disk-a', 'storage'), step('p.check', 'preflight'), step('p.disk-b', 'storage')];
const ordered = ['p.check', 'p.disk-a', 'p.disk-b', 'p.boot', 'p.publish'];

describe('the start hook', () => {
  it('runs by phase, then by order of registration, as the planner does', async () => {
    const hook = createStartHook();
    for (const registration of mixed) hook.add(registration);
    const ran: string[] = [];
    await hook.run(async (registration) => { ran.push(registration.step.name); });
    expect(ran).toEqual(ordered);
    expect(inStartOrder(mixed).map((registration) => registration.step.name)).toEqual(ordered);
  });

  it('ends at the first rejection', async () => {
    const hook = createStartHook();
    for (const registration of mixed) hook.add(registration);
    const ran: string[] = [];
    await expect(hook.run(async (registration) => {
      ran.push(registration.step.name);
      if (registration.step.name === 'p.disk-b') throw new Error('no space');
    })).rejects.toThrow('no space');
    expect(ran).toEqual(['p.check', 'p.disk-a', 'p.disk-b']);
  });

  it('refuses a second step of a name, and any step after boot', () => {
    const hook = createStartHook();
    hook.add(step('p.boot', 'boot'));
    expect(() => hook.add(step('p.boot', 'ready'))).toThrow('Two steps are named p.boot');
    hook.freeze();
    expect(() => hook.add(step('p.late', 'ready'))).toThrow('Step p.late was registered after boot');
  });
});

describe('the limit of a step', () => {
  it('grows under emulation where the guest works, and nowhere else', () => {
    expect((['storage', 'boot', 'ready', 'publish'] as const).map((phase) => limitOf({ phase, timeoutMs: 100 }, 4))).toEqual([100, 400, 400, 100]);
  });
});
