// Builds core's own objects, each once and when first asked for. The only importer of awilix; plugins never see it: they have capabilities.
// The build without loadModules: globbing is not used, and loading its packages takes 25 ms.
import { asFunction, createContainer, InjectionMode } from 'awilix/browser';
import type { Disposer } from './dispose.ts';

/** How one part is made from the others, and how it is ended. Dependencies are read from `parts` while it is made. */
export interface Recipe<Parts, T> {
  make(parts: Parts): T;
  dispose?(part: T): void | Promise<void>;
}
export type Recipes<Parts> = { readonly [K in keyof Parts]: Recipe<Parts, Parts[K]> };

/**
 * Gives an object whose properties are made on first use.
 *
 * Ends go to `disposer`: what was made last, after all it depends on, is ended first. (The container's own disposal runs all at once, in
 * no useful order.) A cycle is an error that names the path.
 */
export function buildParts<Parts extends object>(recipes: Recipes<Parts>, disposer: Disposer): Parts {
  const container = createContainer<Parts>({ injectionMode: InjectionMode.PROXY, strict: true });
  for (const name of Object.keys(recipes) as (keyof Parts & string)[]) {
    container.register(name, asFunction((parts: Parts) => make(recipes[name], parts, { name, disposer })).singleton());
  }
  return container.cradle;
}

function make<Parts, T>(recipe: Recipe<Parts, T>, parts: Parts, own: { readonly name: string; readonly disposer: Disposer }): T {
  const part = recipe.make(parts);
  if (recipe.dispose) own.disposer.add(own.name, () => recipe.dispose?.(part));
  return part;
}
