# Shared by the scripts: sourced with the repository as working directory.

say() { printf '%s: %s\n' "${script:-banger}" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Hash over names and contents of the files given on stdin, one a line.
hash_files() { sort | tr '\n' '\0' | xargs -0 -r sha256sum -- | sha256sum | cut -d ' ' -f 1; }

# Node 24, for which everything is built and tested; the system's Node may be older and only needs to run npm.
use_node24() {
  PATH="$PWD/node_modules/.bin:$PATH"
  export PATH
}
