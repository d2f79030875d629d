// Worlds of one test: made when asked for, gone after it.
import { afterEach, beforeEach, vi } from 'vitest';
import { makeWorld } from './guest.ts';
import type { World, WorldOptions } from './guest.ts';

/** Gives a maker of worlds for the tests of a file. The person's own configuration of git counts in none of them. */
export function useWorlds(): (options?: WorldOptions) => World {
  const made: World[] = [];
  beforeEach(() => void vi.stubEnv('GIT_CONFIG_GLOBAL', '/dev/null'));
  afterEach(() => {
    vi.unstubAllEnvs();
    for (const world of made.splice(0)) world.remove();
  });
  return (options) => {
    const world = makeWorld(options);
    made.push(world);
    return world;
  };
}
