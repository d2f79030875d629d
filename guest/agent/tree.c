#define _GNU_SOURCE
#include "tree.h"
#include "../../native/copy/receive.h"
#include "../../native/copy/walk.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_PROBLEMS 20

static unsigned long problems;

static void tell(const char *format, va_list args) {
  fputs("tree: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
}

void tree_problem(const char *format, ...) {
  va_list args;
  va_start(args, format);
  if (++problems <= SHOWN_PROBLEMS) tell(format, args);
  va_end(args);
}

void tree_refuse(const char *format, ...) {
  va_list args;
  va_start(args, format);
  tell(format, args);
  va_end(args);
  exit(TREE_USAGE);
}

int tree_result(void) {
  if (problems > SHOWN_PROBLEMS) fprintf(stderr, "tree: and %lu more\n", problems - SHOWN_PROBLEMS);
  return problems ? TREE_FAILED : TREE_DONE;
}

char *tree_next(void) {
  static char buffer[65536];
  static size_t at, end;
  for (;;) {
    char *record = buffer + at;
    size_t have = end - at;
    char *nul = memchr(record, 0, have);
    if ((nul ? (size_t)(nul - record) : have) > TREE_RECORD) tree_refuse("a record is longer than %d bytes", TREE_RECORD);
    if (nul) return at = (size_t)(nul - buffer) + 1, record;
    memmove(buffer, record, have);
    at = 0;
    end = have;
    ssize_t n = read(0, buffer + end, sizeof buffer - end);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) tree_refuse("cannot read the records: %s", strerror(errno));
    if (n == 0 && have > 0) tree_refuse("the last record is not ended");
    if (n == 0) return NULL;
    end += (size_t)n;
  }
}

int tree_open_root(const char *root) {
  int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 || errno == ENOENT || errno == ENOTDIR) return fd;
  tree_problem("cannot open %s: %s", root, strerror(errno));
  exit(tree_result());
}

static void remove_empty(int parent, const char *name) { unlinkat(parent, name, AT_REMOVEDIR); }

// ENOTDIR is also said of a file on the way, and then there is nothing at the path.
static bool is_behind_link(const char *path, size_t length) {
  char name[NAME_MAX + 1];
  struct stat is;
  size_t end;
  int stands = copy_walk_stands(&end);
  return end < length && copy_walk_name(path, end, length, name) && fstatat(stands, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(is.st_mode);
}

// A mount point is EBUSY to rmdir, also one that is not empty: neither it nor what is below it is left for another file system.
static bool remove_all_of(int parent, const char *name) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT || unlinkat(parent, name, AT_REMOVEDIR) == 0) return true;
  return (errno == ENOTEMPTY || errno == EEXIST) && copy_remove_tree(parent, name);
}

static bool unlink_it(int parent, const char *name) { return unlinkat(parent, name, 0) == 0; }

static void remove_one(const char *path, bool (*take)(int parent, const char *name)) {
  char name[NAME_MAX + 1];
  const char *slash = strrchr(path, '/');
  size_t parent = slash ? (size_t)(slash - path) : 0;
  if (!copy_walk_is_path(path)) tree_refuse("no path below ROOT: %.200s", path);
  int fd = copy_walk_to(path, parent);
  if (fd >= 0 && copy_walk_name(path, parent, strlen(path), name) && take(fd, name)) return;
  if (errno == ENOENT || errno == ENAMETOOLONG || (fd < 0 && errno == ENOTDIR && !is_behind_link(path, parent))) return;
  tree_problem("cannot remove %s: %s", path, fd < 0 && errno == ENOTDIR ? "a symlink is on the way" : errno == EBUSY ? "a file system is mounted there" : strerror(errno));
}

static int tree_remove(const char *root, bool whole) {
  const struct copy_walk walk = {.left = whole ? NULL : remove_empty};
  int fd = tree_open_root(root);
  char *path;
  if (fd < 0) return TREE_DONE;
  copy_walk_begin(fd, &walk);
  while ((path = tree_next())) remove_one(path, whole ? remove_all_of : unlink_it);
  copy_walk_end();
  return tree_result();
}

static int tree_wipe(const char *root) {
  char parent[PATH_MAX];
  size_t length = strlen(root);
  while (length > 1 && root[length - 1] == '/') length--;
  if (root[0] != '/' || length >= sizeof parent) tree_refuse("no absolute path: %.200s", root);
  memcpy(parent, root, length);
  parent[length] = 0;
  char *name = strrchr(parent, '/') + 1;
  if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) tree_refuse("%.200s is not to be removed", root);
  char last[NAME_MAX + 1];
  if (strlen(name) > NAME_MAX) return TREE_DONE;
  strcpy(last, name);
  name[0] = 0;
  int fd = tree_open_root(parent);
  if (fd >= 0 && !remove_all_of(fd, last)) tree_problem("cannot remove all of %s: %s", root, errno == EBUSY ? "a file system is mounted there" : strerror(errno));
  return tree_result();
}

static int tree_mkdir(const char *path) {
  struct stat is;
  umask(022);
  if (make_dirs(path) && stat(path, &is) == 0 && S_ISDIR(is.st_mode)) return TREE_DONE;
  tree_problem("cannot make the directory %s: %s", path, errno == EEXIST || errno == 0 ? "something else is there" : strerror(errno));
  return tree_result();
}

static int tree_link(const char *path, const char *to) {
  char there[PATH_MAX], temporary[PATH_MAX];
  if (symlink(to, path) == 0) return TREE_DONE;
  ssize_t length = errno == EEXIST ? readlink(path, there, sizeof there) : -1;
  if (length < 0 && errno == EINVAL) return TREE_TAKEN;
  if (length >= 0 && (size_t)length == strlen(to) && memcmp(there, to, (size_t)length) == 0) return TREE_DONE;
  int needed = snprintf(temporary, sizeof temporary, "%s.banger-%d", path, (int)getpid());
  if (length >= 0 && needed < (int)sizeof temporary) {
    unlink(temporary);
    if (symlink(to, temporary) == 0 && rename(temporary, path) == 0) return TREE_DONE;
    int error = errno;
    unlink(temporary);
    errno = error;
  }
  tree_problem("cannot make the link %s: %s", path, strerror(errno));
  return tree_result();
}

int tree_main(int argc, char **argv) {
  const char *verb = argc >= 3 ? argv[1] : "", *path = argc >= 3 ? argv[2] : "";
  bool one = argc == 3 && path[0] == '/';
  if (one && strcmp(verb, "check") == 0) return tree_check(path);
  if (one && strcmp(verb, "remove") == 0) return tree_remove(path, false);
  if (one && strcmp(verb, "clear") == 0) return tree_remove(path, true);
  if (one && strcmp(verb, "wipe") == 0) return tree_wipe(path);
  if (one && strcmp(verb, "mkdir") == 0) return tree_mkdir(path);
  if (argc == 4 && strcmp(verb, "link") == 0 && path[0] == '/' && argv[3][0]) return tree_link(path, argv[3]);
  fprintf(stderr, "usage: agent tree check|remove|clear|wipe ROOT | tree mkdir PATH | tree link PATH TO\n");
  return TREE_USAGE;
}
