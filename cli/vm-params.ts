// Flags of `vm run`, `vm create` and `vm set` become the parameters of their methods.
import type { VmCreateParams } from '../core/api.ts';
import { badRequest } from '../core/errors.ts';
import type { InitMode, Json } from '../core/model.ts';
import type { CommandContext } from './command.ts';
import { usageError, type Flags } from './parse.ts';

const mibPerUnit: Readonly<Record<string, number>> = { '': 1, M: 1, MIB: 1, MB: 1, G: 1024, GIB: 1024, GB: 1024 };

/** `512`, `512M` and `2G` in MiB. @throws bad_request */
export function parseMemory(text: string): number {
  const match = /^(\d{1,9})\s*([A-Za-z]*)$/.exec(text);
  const factor = match && mibPerUnit[match[2]!.toUpperCase()];
  if (!factor) throw badRequest([{ path: '--memory', message: `wants MiB or a size such as 2G, got ${text}` }], 'flag');
  return Number(match[1]) * factor;
}

/** `K=V`, or `K` with the caller's own value. @throws bad_request */
export function parseEnv(words: readonly string[], own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const env: Record<string, string> = {};
  for (const word of words) {
    const equals = word.indexOf('=');
    const name = equals === -1 ? word : word.slice(0, equals);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw usageError(`--env ${word} does not begin with a variable's name`, '--env NAME=value');
    const value = equals === -1 ? own[name] : word.slice(equals + 1);
    if (value === undefined) throw usageError(`--env ${name}: it is not set here`, `--env ${name}=value gives it one`);
    env[name] = value;
  }
  return env;
}

/** Raw values of plugin flags, by plugin and key; the daemon's plugins parse them. */
export function sectionsOf(flags: Flags): Record<string, Json> | undefined {
  const sections: Record<string, Record<string, Json>> = {};
  for (const { name, section } of flags.definitions) {
    const value = flags.value(name);
    if (section === undefined || value === undefined) continue;
    (sections[section.plugin] ??= {})[section.key] = (section.value ?? value) as Json;
  }
  return Object.keys(sections).length === 0 ? undefined : sections;
}

/** Size flags that `set` shares with `create`. */
export function sizeParams(flags: Flags): { vcpu?: number; memoryMiB?: number } {
  const vcpu = flags.integer('vcpu');
  const memory = flags.text('memory');
  return { ...(vcpu === undefined ? {} : { vcpu }), ...(memory === undefined ? {} : { memoryMiB: parseMemory(memory) }) };
}

const initModes: readonly string[] = ['auto', 'image', 'agent'] satisfies InitMode[];

/** Parameters of `vm.create` and `vm.plan`. @throws bad_request */
export function createParams({ flags, io }: Pick<CommandContext, 'flags' | 'io'>): VmCreateParams {
  const init = flags.text('init');
  if (init !== undefined && !initModes.includes(init)) throw badRequest([{ path: '--init', message: `wants auto, image or agent, got ${init}` }], 'flag');
  const env = parseEnv(flags.list('env'), io.env);
  const text = (name: string): Record<string, string> => {
    const value = flags.text(name);
    return value === undefined ? {} : { [name]: value };
  };
  const sections = sectionsOf(flags);
  return {
    ...text('name'), ...text('image'), ...text('kernel'), ...text('driver'), ...sizeParams(flags),
    ...(init === undefined ? {} : { init: init as InitMode }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(sections === undefined ? {} : { sections }),
  };
}
