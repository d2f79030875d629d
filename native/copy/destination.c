#define _GNU_SOURCE
#include "receive.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// How a name of the stream becomes a path below the root.
enum mapping {
  UNDECIDED,
  // As it is: the root is a directory that entries go into.
  PLAIN,
  // Its first part is the root itself.
  WITHOUT_TOP,
  // Its first part becomes DEST's name in the root.
  WITH_TOP_RENAMED,
  // All of it goes below DEST's name in the root.
  BELOW,
};

static enum mapping mapping;
static bool as, is_directory, is_file, is_named, owns_root;
static const char *destination;
// DEST's name in the root directory.
static char own[NAME_MAX + 1];
// The first part of the first entry's name.
static char top[TAR_NAME + 1];

static int open_root(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == EACCES) fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) copy_fail("cannot open %s: %s", path, strerror(errno));
  return fd;
}

// Opens the directory that DEST is in, and keeps its name there.
static int open_parent(const char *of) {
  static char path[PATH_MAX];
  size_t length = strlen(of);
  while (length > 1 && of[length - 1] == '/') length--;
  if (length >= sizeof path) copy_fail("cannot open %s: %s", of, strerror(ENAMETOOLONG));
  memcpy(path, of, length);
  path[length] = 0;
  char *slash = strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  if (strlen(name) > NAME_MAX) copy_fail("cannot open %s: %s", of, strerror(ENAMETOOLONG));
  strcpy(own, name);
  if (!slash) return open_root(".");
  slash[slash == path] = 0;
  return open_root(path);
}

static int open_missing(const struct copy_receive_options *options) {
  struct stat file;
  size_t length = strlen(destination);
  char *bare = strdup(destination);
  if (!bare) copy_fail("out of memory");
  while (length > 1 && bare[length - 1] == '/') bare[--length] = 0;
  if (lstat(bare, &file) == 0 && S_ISLNK(file.st_mode)) copy_fail("%s is a symlink to nothing", bare);
  free(bare);
  bool slash = destination[length] == '/';
  if (options->how == COPY_AUTO && slash) copy_fail("the directory %s is not there", destination);
  as = options->how != COPY_INTO;
  mapping = as ? UNDECIDED : BELOW;
  return open_parent(destination);
}

static int open_file(const struct copy_receive_options *options) {
  if (options->how == COPY_INTO) copy_fail("%s is not a directory", destination);
  // The link that the caller named stays, and the file it leads to is replaced.
  char *real = realpath(destination, NULL);
  if (!real) copy_fail("cannot open %s: %s", destination, strerror(errno));
  as = is_file = true;
  int fd = open_parent(real);
  free(real);
  return fd;
}

int copy_destination_open(const struct copy_receive_options *options) {
  struct stat file;
  destination = options->destination;
  if (stat(destination, &file) < 0) {
    if (errno != ENOENT) copy_fail("cannot open %s: %s", destination, strerror(errno));
    return open_missing(options);
  }
  if (S_ISREG(file.st_mode)) return open_file(options);
  if (!S_ISDIR(file.st_mode)) copy_fail("%s is neither a file nor a directory", destination);
  is_directory = true;
  as = options->how == COPY_AS;
  is_named = options->name && options->how == COPY_AUTO;
  mapping = as || is_named ? UNDECIDED : PLAIN;
  // It is looked up from here, so a symlink of that name is replaced as any below DEST, and not followed.
  if (is_named) strcpy(own, options->name);
  return open_root(destination);
}

// Without `.`, double and leading slashes; `..` refuses the stream.
static void normalise(const char *name, char *out) {
  static bool told;
  size_t length = 0;
  if (name[0] == '/' && !told) {
    copy_note("leading / is removed from names");
    told = true;
  }
  while (*name) {
    size_t part = strcspn(name, "/");
    if (part == 2 && name[0] == '.' && name[1] == '.') copy_fail("the stream names something outside of it, with `..`");
    if (part > 0 && !(part == 1 && name[0] == '.')) {
      if (length > 0) out[length++] = '/';
      memcpy(out + length, name, part);
      length += part;
    }
    name += part;
    while (*name == '/') name++;
  }
  out[length] = 0;
}

void copy_destination_check(const struct tar_entry *entry) {
  if (mapping != UNDECIDED) return;
  static char name[TAR_NAME + 1];
  normalise(entry->name, name);
  bool tree = strchr(name, '/') || entry->type == TAR_DIRECTORY;
  bool is_root = is_directory && !is_named;
  if (is_root && !tree) copy_fail("%s is a directory, and the stream brings a file", destination);
  if (is_file && tree) copy_fail("%s is a file, and the stream brings a directory", destination);
  if (!name[0] && !tree) copy_fail("the stream is damaged: a file without a name");
  if (!name[0]) {
    mapping = is_root ? PLAIN : BELOW;
  } else {
    mapping = is_root ? WITHOUT_TOP : WITH_TOP_RENAMED;
    size_t length = strcspn(name, "/");
    memcpy(top, name, length);
    top[length] = 0;
  }
  owns_root = is_root;
}

// A further top entry has no place where DEST is to be the first.
static const char *behind_top(const char *name) {
  size_t length = strlen(top);
  if (strncmp(name, top, length) != 0 || (name[length] && name[length] != '/')) return NULL;
  return name + length;
}

bool copy_destination_map(const char *name, char *path) {
  static char normal[TAR_NAME + 1];
  normalise(name, normal);
  const char *rest = normal;
  if (mapping == WITHOUT_TOP || mapping == WITH_TOP_RENAMED) {
    rest = behind_top(normal);
    if (!rest) return false;
    if (mapping == WITHOUT_TOP) rest += *rest == '/';
  }
  path[0] = 0;
  if (mapping == WITH_TOP_RENAMED || mapping == BELOW) strcpy(path, own);
  if (mapping == BELOW && *rest) strcat(path, "/");
  strcat(path, rest);
  return true;
}

bool copy_destination_holds(void) { return is_named || (as && !is_directory); }

bool copy_destination_owns_root(void) { return owns_root; }

const char *copy_destination_made(void) { return mapping == BELOW ? own : NULL; }
