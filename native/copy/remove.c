#define _GNU_SOURCE
#include "directory.h"
#include "receive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Names in a stream cannot lead deeper.
#define DEPTH 4096
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct parent {
  dev_t device;
  ino_t inode;
  char name[NAME_MAX + 1];
};

static struct parent *parents;
static size_t depth;

// It may be as unreadable as the stream wanted it; it is ours.
static int open_to_empty(int directory, const char *name) {
  int fd = openat(directory, name, OPEN_DIRECTORY);
  struct stat file;
  if (fd < 0 && errno == EACCES && fchmodat(directory, name, 0700, 0) == 0) fd = openat(directory, name, OPEN_DIRECTORY);
  if (fd >= 0 && fstat(fd, &file) == 0 && (file.st_mode & 0700) != 0700) fchmod(fd, 0700);
  return fd;
}

static bool remember(int fd, const char *name) {
  struct stat file;
  if (depth == DEPTH || fstat(fd, &file) < 0) return false;
  struct parent *grown = realloc(parents, (depth + 1) * sizeof *parents);
  if (!grown) return false;
  parents = grown;
  parents[depth].device = file.st_dev;
  parents[depth].inode = file.st_ino;
  strcpy(parents[depth++].name, name);
  return true;
}

// Removes the directory's entries up to one that is a directory with entries of its own: that becomes *fd. -1: something stays; 0: it is empty; 1: go on.
static int empty_some(int *fd) {
  static char buffer[32768] __attribute__((aligned(8)));
  int seen = 0;
  long n = syscall(SYS_getdents64, *fd, buffer, sizeof buffer);
  for (long at = 0; at < n; at += copy_record_at(buffer + at)->length) {
    const char *name = copy_record_at(buffer + at)->name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    seen = 1;
    if (unlinkat(*fd, name, 0) == 0 || unlinkat(*fd, name, AT_REMOVEDIR) == 0) continue;
    if (errno != ENOTEMPTY && errno != EEXIST) return -1;
    int inner = open_to_empty(*fd, name);
    if (inner < 0 || !remember(*fd, name)) {
      if (inner >= 0) close(inner);
      return -1;
    }
    close(*fd);
    *fd = inner;
    return 1;
  }
  if (n < 0) return -1;
  // A directory without anything but `.` and `..` in this piece may have more pieces.
  return n == 0 ? 0 : seen + 1;
}

static bool go_up(int *fd) {
  struct parent *parent = &parents[--depth];
  struct stat file;
  int up = openat(*fd, "..", OPEN_DIRECTORY);
  close(*fd);
  *fd = up;
  if (up < 0 || fstat(up, &file) < 0 || file.st_dev != parent->device || file.st_ino != parent->inode) return false;
  return unlinkat(up, parent->name, AT_REMOVEDIR) == 0;
}

static bool empty(int *fd) {
  for (;;) {
    int n = empty_some(fd);
    if (n < 0) return false;
    if (n > 0) continue;
    if (depth == 0) return true;
    if (!go_up(fd)) return false;
  }
}

bool copy_remove_tree(int directory, const char *name) {
  int fd = open_to_empty(directory, name);
  depth = 0;
  bool good = fd >= 0 && empty(&fd);
  if (fd >= 0) close(fd);
  free(parents);
  parents = NULL;
  return good && unlinkat(directory, name, AT_REMOVEDIR) == 0;
}
