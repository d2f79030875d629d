#define _GNU_SOURCE
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

// Directories further out are closed, and looked up again when they are needed.
#define KEPT_OPEN 128
// Only to go through: that needs no right to read it.
#define OPEN_DIRECTORY (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

// From the base to where the walk is. `end` is how much of `at` leads there.
static struct {
  int fd;
  size_t end;
} levels[COPY_WALK_PATH / 2 + 2];
static size_t depth;
static char at[COPY_WALK_PATH + 1];
static struct copy_walk hooks;

bool copy_walk_is_path(const char *path) {
  if (strlen(path) > COPY_WALK_PATH) return false;
  for (;;) {
    size_t part = strcspn(path, "/");
    if (part == 0 || (path[0] == '.' && (part == 1 || (part == 2 && path[1] == '.')))) return false;
    if (!path[part]) return true;
    path += part + 1;
  }
}

bool copy_walk_name(const char *path, size_t end, size_t length, char *name) {
  size_t start = end ? end + 1 : 0;
  size_t part = strcspn(path + start, "/");
  if (part > length - start) part = length - start;
  if (part > NAME_MAX) return errno = ENAMETOOLONG, false;
  memcpy(name, path + start, part);
  name[part] = 0;
  return true;
}

static int open_next(int directory, size_t end, size_t length) {
  char name[NAME_MAX + 1];
  return copy_walk_name(at, end, length, name) ? openat(directory, name, OPEN_DIRECTORY) : -1;
}

// The innermost level, which may have been closed; -1 with errno.
static int innermost(void) {
  int fd = levels[0].fd;
  if (levels[depth - 1].fd >= 0) return levels[depth - 1].fd;
  for (size_t i = 1; i < depth && fd >= 0; i++) {
    int next = open_next(fd, levels[i - 1].end, levels[i].end);
    int error = errno;
    if (i > 1) close(fd);
    errno = error;
    fd = next;
  }
  return levels[depth - 1].fd = fd;
}

static void push(int fd, size_t end) {
  if (depth > KEPT_OPEN && levels[depth - KEPT_OPEN].fd >= 0) {
    close(levels[depth - KEPT_OPEN].fd);
    levels[depth - KEPT_OPEN].fd = -1;
  }
  levels[depth].fd = fd;
  levels[depth++].end = end;
}

static void leave(void) {
  char name[NAME_MAX + 1];
  if (--depth == 0) return;
  if (levels[depth].fd >= 0) close(levels[depth].fd);
  if (!hooks.left || !copy_walk_name(at, levels[depth - 1].end, levels[depth].end, name)) return;
  int parent = innermost();
  if (parent >= 0) hooks.left(parent, name);
}

// How many of the levels are on the way to that directory.
static size_t shared(const char *to, size_t length) {
  size_t same = 0, end = levels[depth - 1].end, n = 1;
  while (same < length && same < end && to[same] == at[same]) same++;
  while (n < depth && levels[n].end <= same && (levels[n].end == length || to[levels[n].end] == '/')) n++;
  return n;
}

void copy_walk_begin(int base, const struct copy_walk *walk) {
  copy_walk_end();
  hooks = *walk;
  push(base, 0);
}

void copy_walk_end(void) {
  while (depth > 0) leave();
}

int copy_walk_to(const char *path, size_t length) {
  size_t n = shared(path, length);
  while (depth > n) leave();
  memcpy(at, path, length);
  at[length] = 0;
  for (size_t end = levels[depth - 1].end; end < length; end = levels[depth - 1].end) {
    int directory = innermost();
    int fd = directory < 0 ? -1 : open_next(directory, end, length);
    if (fd < 0) return -1;
    size_t start = end ? end + 1 : 0;
    push(fd, start + strcspn(at + start, "/"));
    if (hooks.entered) hooks.entered(fd, path, levels[depth - 1].end);
  }
  return innermost();
}

int copy_walk_stands(size_t *end) {
  *end = levels[depth - 1].end;
  return levels[depth - 1].fd;
}
