// What each end is asked to do, from the two words and the flags.
import type { VmCopyParams } from '../../core/api.ts';
import { usageError } from '../parse.ts';
import { lastName, meansContents, type Operand } from './operand.ts';

export interface CopyWish {
  readonly source: Operand;
  readonly target: Operand;
  /** As whom in the guests. */
  readonly user: string | undefined;
  /** Owners as in the source, where that is allowed. */
  readonly owners: boolean;
  /** This host's end may give files away. */
  readonly isRoot: boolean;
}
/** `host`: words for the host's program. */
export type EndPlan = { readonly on: 'host'; readonly words: readonly string[] } | { readonly on: 'guest'; readonly params: VmCopyParams } | { readonly on: 'stream' };
export interface CopyPlan { readonly source: EndPlan; readonly target: EndPlan }

/** @throws bad_request for two ends of which none is a VM's */
export function planCopy(wish: CopyWish): CopyPlan {
  const { source, target } = wish;
  if (source.kind !== 'guest' && target.kind !== 'guest') {
    const [message, hint] = source.kind === 'host' && target.kind === 'host'
      ? ['Neither path is in a VM', 'vm:path names a path in a VM; cp copies on this host'] as const
      : ['A tar stream needs a VM at the other end', 'vm:path names a path in a VM; tar makes and unpacks streams on this host'] as const;
    throw usageError(message, hint);
  }
  return { source: planSource(wish), target: planTarget(wish) };
}

function planSource({ source, target, user }: CopyWish): EndPlan {
  if (source.kind === 'stream') return { on: 'stream' };
  const contents = meansContents(source.path);
  if (source.kind === 'host') return { on: 'host', words: ['send', ...(contents ? ['--contents'] : []), '--', source.path] };
  return {
    on: 'guest',
    params: {
      ref: source.ref, direction: 'out', path: source.path,
      ...(user === undefined ? {} : { user }), ...(contents ? { contents } : {}), ...direct(target),
    },
  };
}

/**
 * The name below an existing directory is the one that was asked for, whatever the stream calls its tree: a guest that answers with
 * another must not choose what is replaced.
 */
function planTarget({ source, target, user, owners, isRoot }: CopyWish): EndPlan {
  if (target.kind === 'stream') return { on: 'stream' };
  const name = source.kind === 'stream' || meansContents(source.path) ? undefined : lastName(source.path);
  if (target.kind === 'host') {
    // Never device nodes: one of the host's disks under a guest's choice of mode would be the host's end.
    return { on: 'host', words: ['receive', ...(name === undefined ? [] : ['--name', name]), ...(owners && isRoot ? ['--owners'] : []), '--', target.path] };
  }
  return {
    on: 'guest',
    params: {
      ref: target.ref, direction: 'in', path: target.path, owners,
      ...(user === undefined ? {} : { user }), ...(name === undefined ? {} : { name }),
      ...(source.kind === 'stream' ? { place: 'into' as const } : {}),
      // What comes from this host is the user's own; another guest's is not.
      ...(source.kind === 'guest' ? {} : { devices: true }),
      ...direct(source),
    },
  };
}

/** This host's program can move the stream by itself; our stdin and stdout, and another guest, cannot. */
const direct = (other: Operand): Pick<VmCopyParams, 'direct'> => (other.kind === 'host' ? { direct: true } : {});
