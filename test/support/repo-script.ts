// The sh side of random-repo.ts and repo-snapshot.ts: needs a POSIX sh, the usual programs and git, nothing else.

/** A word for `printf %b`, in letters that need no quoting but single quotes. */
export function octal(text: string): string {
  return text.replaceAll(/[^\w./ -]/g, (char) => `\\0${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

const person = { GIT_AUTHOR_NAME: 'Test', GIT_AUTHOR_EMAIL: 'test@example.org', GIT_COMMITTER_NAME: 'Test', GIT_COMMITTER_EMAIL: 'test@example.org' };
const settings: Readonly<Record<string, string>> = { LC_ALL: 'C', TZ: 'UTC', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_LITERAL_PATHSPECS: '1', ...person };

/** For git of the host in tests: nothing of the person who runs them, nobody's configuration. */
export function gitEnvironment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'));
  return { ...Object.fromEntries(inherited), ...settings };
}

/**
 * What every script begins with. A path comes as an argument for `printf %b`: `name` puts it into `p`, its newlines at the end kept. What is in
 * the way of a path goes, and nothing is ever done through a link.
 */
export const scriptHead = `set -u
umask 022
${Object.entries(settings).map(([name, value]) => `export ${name}='${value}'`).join('\n')}
quietly() { "$@" >/dev/null 2>&1 || :; }
name() { p=$(printf '%b.' "$1"); p=./\${p%.}; }
inside() { name "$1"; cd "\${p#./}" || exit 1; }
is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
way() {
  w=./ r=\${p#./}
  while case $r in */*) ;; *) false ;; esac; do
    w=$w\${r%%/*} r=\${r#*/}
    is_dir "$w" || { rm -f "$w"; mkdir "$w"; }
    w=$w/
  done
  is_file "$p" || rm -rf "$p"
}
put() { name "$1"; way; printf '%b' "$2" >"$p"; }
append() { name "$1"; if is_file "$p"; then printf '%b' "$2" >>"$p"; fi; }
flip() { name "$1"; if is_file "$p"; then n=$(wc -c <"$p"); head -c "$n" /dev/zero | tr '\\000' "$2" >"$p"; fi; }
fill() { name "$1"; if is_file "$p"; then yes 'some text' | tr '\\n' ' ' | head -c "$2" >"$p"; fi; }
mode() { name "$2"; if is_file "$p"; then chmod "$1" "$p"; fi; }
again() { name "$1"; if is_file "$p"; then touch "$p"; fi; }
remove() { name "$1"; rm -rf "$p"; }
link() { name "$1"; way; rm -rf "$p"; l=$p; name "$2"; ln -s "\${p#./}" "$l"; }
move() {
  name "$1"; f=$p; name "$2"
  if [ -e "$f" ] || [ -L "$f" ]; then way; rm -rf "$p"; mv "$f" "$p"; fi
}
stage() { printf '%b' "$1" | quietly git add -A \${2:-} --pathspec-from-file=- --pathspec-file-nul; }
unstage() { printf '%b' "$1" | quietly git rm -r -q -f --cached --ignore-unmatch --pathspec-from-file=- --pathspec-file-nul; }
dated() { d="@$1 +0000"; shift; GIT_AUTHOR_DATE=$d GIT_COMMITTER_DATE=$d quietly "$@"; }
commit() { dated "$1" git commit -q --allow-empty -m "change $1"; }
`;
