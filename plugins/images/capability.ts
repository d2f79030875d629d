// PUBLIC: how other plugins add image sources, and the artifact store that the kernel store shares.
import { capability } from '../../core/plugin-api.ts';
import type { EnsureContext, Image } from '../../core/plugin-api.ts';

export { createArtifactStore, makeStoreDir } from './artifact-store.ts';
export type { Artifact, ArtifactManifest, ArtifactStore } from './artifact-store.ts';

/** What a source makes of a reference, known without the network. */
export interface ImageIdentity {
  /** Name the image gets. At most one image of a name is built at a time. */
  readonly name: string;
  /** Says which inputs are meant (path, size and time of a file; digest of a manifest): an image with this origin is up to date. */
  readonly origin?: string;
}

/** Context of one build: its processes bear `mark`, so that they are found after a crash. */
export interface ImageBuildContext extends EnsureContext {
  readonly mark: string;
  /** An empty directory outside every home, passable for other uids; removed afterwards. */
  readonly scratch: string;
}

export interface BuiltImage {
  /** A tar archive (any compression tar knows), or a raw ext4 file inside the staging directory, which is moved. */
  readonly rootfs: { readonly kind: 'tar' | 'ext4'; readonly path: string };
  readonly config: Image['config'];
  /** For people: "debian bookworm, 14 packages". */
  readonly source: string;
}

/** Makes images from references of its kind. Asked in plugin order; the first that knows a reference makes it. */
export interface ImageSource {
  /** `undefined`: not a reference of this source. No network. */
  knows(ref: string): Promise<ImageIdentity | undefined>;
  /**
   * Makes the root file system below `staging`, an empty directory that is removed whatever happens. Never two at once for one name.
   * @throws missing_requirement, operation_failed, cancelled
   */
  build(ref: string, staging: string, ctx: ImageBuildContext): Promise<BuiltImage>;
}
export const ImageSource = capability<ImageSource>('image-source@1', 'many');

export { hostCodename } from './debian/apt-sources.ts';
