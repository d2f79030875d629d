// The scripts themselves. POSIX sh; every image with git has one. They write nothing but objects and a temporary index in the guest's `.git`.

/** Objects are synced, in batches: git takes one for whole that a loss of power has cut, and the work could never be packed again. */
const enter = `cd "$1" 2>/dev/null || exit 3
command -v git >/dev/null 2>&1 || exit 4
d=$(git rev-parse --absolute-git-dir) || exit 5
export GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_COUNT=3
export GIT_CONFIG_KEY_0=core.fsync GIT_CONFIG_VALUE_0=loose-object GIT_CONFIG_KEY_1=core.fsyncMethod GIT_CONFIG_VALUE_1=batch
export GIT_CONFIG_KEY_2=core.safecrlf GIT_CONFIG_VALUE_2=false
`;

/** The index is copied: git would write even a cache tree into the real one. The copy keeps its time, by which git tells fresh entries from racy ones. */
const copyIndex = `i="$d/banger-$2.index"
trap 'rm -f "$i" "$i.lock" "$i.said"' EXIT
trap 'exit 1' HUP INT TERM
rm -f "$d"/banger-*.index "$d"/banger-*.index.lock "$d"/banger-*.index.said
if [ -f "$d/index" ]; then cp -p "$d/index" "$i" || exit 6; fi
`;
/**
 * A nested repository without commits cannot be added, and must not keep the rest: it is named. Files that git was told to take for unchanged, to skip, or
 * that lie outside of a sparse checkout are looked at all the same, where they are.
 */
const addAll = `if GIT_INDEX_FILE="$i" git ls-files -t | grep -q '^S '; then
  GIT_INDEX_FILE="$i" git ls-files -t -z |
  xargs -0 sh -c 'for f; do case $f in "S "*) f=./\${f#S }; if [ -e "$f" ] || [ -L "$f" ]; then printf "%s\\0" "\${f#./}"; fi; esac; done' sh |
  GIT_INDEX_FILE="$i" git update-index --no-skip-worktree -z --stdin || exit 7
fi
GIT_INDEX_FILE="$i" git update-index -q --really-refresh >/dev/null 2>&1
GIT_INDEX_FILE="$i" git -c advice.addEmbeddedRepo=false -c core.sparseCheckout=false add -A --ignore-errors . 2>"$i.said"
added=$?
cat "$i.said" >&2
if [ $added -ne 0 ]; then
  [ $added -eq 1 ] || exit 7
  grep '^[a-z]*:' "$i.said" | grep -v '^warning:' | grep -qv 'does not have a commit checked out' && exit 7
fi
`;

/** `$1` directory. Says only by its exit code whether there is a repository, and git for it. */
export const probeScript = enter;

/**
 * `$1` git directory, as it is named and no other around it, `$2` operation, `$3` 'all' for every name by which it holds commits. Says what HEAD, branches
 * and index are. Asked from within as its own working tree, as that of a submodule may be gone.
 */
export const stateScript = `[ -e "$1/HEAD" ] || exit 5
export GIT_DIR="$1" GIT_WORK_TREE="$1"
${enter}printf 'head %s\\n' "$(git rev-parse -q --verify 'HEAD^{commit}' 2>/dev/null)"
printf 'headtree %s\\n' "$(git rev-parse -q --verify 'HEAD^{tree}' 2>/dev/null)"
printf 'branch %s\\n' "$(git symbolic-ref -q HEAD)"
refs='refs/heads refs/stash'
if [ "$3" = all ]; then
  refs="$refs refs/tags refs/notes refs/banger"
  for w in "$d"/worktrees/*/HEAD; do
    if [ -f "$w" ] && read -r at <"$w"; then n=\${w%/HEAD}; echo "ref $at refs/worktrees/\${n##*/}"; fi
  done
fi
git for-each-ref --format='ref %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end) %(refname)' $refs
printf 'index %s\\n' "$(git ls-files -s -z | git hash-object --stdin)"
i="$d/banger-$2.index"
trap 'rm -f "$i" "$i.lock"' EXIT
trap 'exit 1' HUP INT TERM
cp -p "$d/index" "$i" 2>/dev/null
printf 'tree %s\\n' "$(GIT_INDEX_FILE="$i" git write-tree 2>/dev/null)"
`;

/** `$1` directory, `$2` full name of a ref, which is there no more afterwards, wherever git keeps it. */
export const dropRefScript = `${enter}git update-ref --no-deref -d "$2" || exit 7
`;

/** `$1` directory, `$2` operation; NUL-terminated paths on stdin. Says their blobs as \`git ls-files -s -z\` does, those that are there. */
export const blobsScript = `${enter}i="$d/banger-$2.index"
trap 'rm -f "$i" "$i.lock"' EXIT
trap 'exit 1' HUP INT TERM
rm -f "$i" "$i.lock"
GIT_INDEX_FILE="$i" git update-index --add --remove -z --stdin || exit 7
GIT_INDEX_FILE="$i" git ls-files -s -z
`;

/**
 * `$1` directory, `$2` operation, `$3` commit that the host has, or nothing. Says one line, \`banger-work 1 HEAD INDEX WORKTREE\` with a dash
 * for what there is not, and after it a pack of what these three need beyond that commit, without deltas: making them is slow here, and the host need
 * not undo them in memory. Submodules are asked only where there are any: \`git submodule\` starts a dozen programs before it finds none.
 */
export const pullScript = `${enter}${copyIndex}head=$(git rev-parse -q --verify 'HEAD^{commit}' || :)
index=
if [ -f "$i" ]; then index=$(GIT_INDEX_FILE="$i" git write-tree 2>/dev/null || :); fi
${addAll}tree=$(GIT_INDEX_FILE="$i" git write-tree) || exit 8
git ls-files -s | grep -q '^160000 ' && git submodule --quiet foreach --recursive 'test -z "$(git status --porcelain)" || echo "banger-submodule $displaypath" >&2' >/dev/null || :
printf 'banger-work 1 %s %s %s\\n' "\${head:--}" "\${index:--}" "$tree"
base=
if [ -n "$3" ] && git cat-file -e "$3^{commit}" 2>/dev/null; then base="^$3 ^$3^{tree}"; fi
for id in $head $index $tree $base; do echo "$id"; done |
git -c pack.threads=1 -c pack.compression=1 -c core.bigFileThreshold=64m pack-objects --revs --stdout -q --window=0 --no-reuse-delta
`;

/** `$1` directory, `$2` operation, `$3` commit to begin at, or nothing for HEAD. Says a binary patch. */
export const exportScript = `${enter}${copyIndex}if [ -n "$3" ]; then
  ref=$(git rev-parse -q --verify "$3^{commit}") || { echo "banger: the guest has no commit $3" >&2; exit 9; }
else
  ref=$(git rev-parse -q --verify 'HEAD^{commit}') || ref=$(git hash-object -t tree /dev/null)
fi
${addAll}GIT_INDEX_FILE="$i" git -c core.quotePath=true diff --cached --binary --full-index --no-color --no-ext-diff --no-textconv --no-renames \\
  --src-prefix=a/ --dst-prefix=b/ --ignore-submodules=none "$ref" --
`;

/** `$1` directory. Trusts the configuration of mise there, where mise is. */
export const miseScript = `cd "$1" && command -v mise >/dev/null 2>&1 && mise trust --quiet --all
`;
