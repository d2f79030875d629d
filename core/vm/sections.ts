// Plugin sections of the VM spec: parsed by the plugin's schema, all problems at once.
import { didYouMean } from '../config/suggest.ts';
import type { Issue } from '../errors.ts';
import type { SectionRegistration } from '../lifecycle/registrations.ts';
import type { Json } from '../plugin-api.ts';

export type Sections = Readonly<Record<string, Json>>;

/** Parses every registered section, absent ones with their defaults. `raw`: plugin name to values as the client sent them. */
export function parseSections(
  registrations: readonly SectionRegistration[], raw: Readonly<Record<string, unknown>>): { readonly sections: Sections; readonly issues: readonly Issue[] } {
  const issues: Issue[] = [];
  const known = registrations.map(({ plugin }) => plugin);
  for (const name of Object.keys(raw)) {
    if (!known.includes(name)) issues.push({ path: `sections.${name}`, message: `no plugin has this section${didYouMean(name, known)}` });
  }
  const sections: Record<string, Json> = {};
  for (const { plugin, section } of registrations) {
    const parsed = section.schema.safeParse(raw[plugin] ?? {});
    if (parsed.success) {
      sections[plugin] = parsed.data as Json;
      continue;
    }
    issues.push(...parsed.error.issues.map((issue) => ({
      path: ['sections', plugin, ...issue.path.map(String)].join('.'), message: issue.message,
    })));
  }
  return { sections, issues };
}

/** What a change asks for, over what is: keys that it does not name stay. */
export function mergeSections(current: Sections, raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...current };
  for (const [plugin, value] of Object.entries(raw)) {
    merged[plugin] = isObject(value) && isObject(current[plugin]) ? { ...current[plugin], ...value } : value;
  }
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
