#define _GNU_SOURCE
#include "receive.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

// Deeper ones are closed while one of their own is open, and found again by `..`.
#define KEPT_OPEN 128
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

static struct copy_level *levels;
static size_t depth, room;
// From the root to the innermost level.
static char path[COPY_PATH];
// The level that has a temporary name, and all below it; 0: none. The root never has.
static size_t staged;
static char staged_name[32];
static uint64_t staged_entries, placed_entries;

static struct copy_level *add_level(int fd) {
  if (depth == room) {
    room = room ? room * 2 : 32;
    levels = realloc(levels, room * sizeof *levels);
    if (!levels) copy_fail("out of memory");
  }
  struct copy_level *level = &levels[depth++];
  memset(level, 0, sizeof *level);
  level->fd = fd;
  return level;
}

bool copy_place_is_root(const struct copy_level *level) { return level == levels; }

void copy_place_count(void) {
  if (staged) staged_entries++;
  else placed_entries++;
}

uint64_t copy_place_counted(void) { return placed_entries; }

static bool has_default_acl(int fd) { return fgetxattr(fd, "system.posix_acl_default", NULL, 0) >= 0; }

// The new directory was ours alone from the start, so its own rules are those of what is made in it.
static void look_at_made(struct copy_level *level, bool first, bool parent_is_plain) {
  level->made = true;
  level->plain = parent_is_plain;
  if (parent_is_plain) return;
  if (fstat(level->fd, &level->before) < 0) copy_fail("cannot look at a new directory: %s", strerror(errno));
  bool ours = level->before.st_uid == geteuid() && (level->before.st_mode & 077) == 0;
  if (first && !ours) copy_fail("a new directory was exchanged by somebody");
  level->inherits = has_default_acl(level->fd);
  level->plain = !level->inherits && level->before.st_gid == getegid() && !(level->before.st_mode & S_ISGID);
}

static int make_directory(const struct copy_level *parent, const char *name) {
  if (staged) return mkdirat(parent->fd, name, 0700);
  copy_temporary_name(staged_name);
  if (mkdirat(parent->fd, staged_name, 0700) < 0) return -1;
  staged = depth;
  staged_entries = 0;
  return 0;
}

// In a tree that is all the stream's, times are to stay as an earlier entry set them.
static void look_at_old(struct copy_level *level) {
  if (fstat(level->fd, &level->before) < 0) copy_fail("cannot look at a directory: %s", strerror(errno));
  level->again = staged > 0;
  level->inherits = copy_keeps_owners() && has_default_acl(level->fd);
}

void copy_place_open(int root) { look_at_old(add_level(root)); }

// Level `index` may not be needed for long: see KEPT_OPEN. Both sides of a temporary name stay open.
static void close_above(size_t index) {
  struct copy_level *level = &levels[index];
  struct stat file;
  if (index <= KEPT_OPEN || index == staged || index + 1 == staged || fstat(level->fd, &file) < 0) return;
  level->device = file.st_dev;
  level->inode = file.st_ino;
  close(level->fd);
  level->fd = -1;
}

static void tell_failed(const struct copy_level *parent, const char *name, const char *shown, bool made) {
  int error = errno;
  struct stat file;
  if (made && staged == depth) {
    unlinkat(parent->fd, staged_name, AT_REMOVEDIR);
    staged = 0;
  }
  copy_give_up_on(error, shown);
  if (depth == 1 && copy_destination_holds()) copy_fail("cannot make %s: %s", shown, strerror(error));
  bool link = fstatat(parent->fd, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(file.st_mode);
  copy_problem("%s is left out: %s %s", shown, name, link ? "is a symlink and not followed" : error == ENOTDIR ? "is in the way and no directory" : strerror(error));
}

static bool step(const char *from, size_t length, const char *shown) {
  char name[NAME_MAX + 1];
  if (length > NAME_MAX) {
    copy_problem("%s is left out: %s", shown, strerror(ENAMETOOLONG));
    return false;
  }
  memcpy(name, from, length);
  name[length] = 0;
  struct copy_level *parent = &levels[depth - 1];
  int fd = parent->made ? -1 : openat(parent->fd, name, OPEN_DIRECTORY);
  bool made = false;
  if (parent->made || (fd < 0 && errno == ENOENT)) {
    made = make_directory(parent, name) == 0;
    if (made || errno == EEXIST) fd = openat(parent->fd, made && staged == depth ? staged_name : name, OPEN_DIRECTORY);
  }
  if (fd < 0) {
    tell_failed(parent, name, shown, made);
    return false;
  }
  bool first = staged == depth, in_plain = parent->plain;
  struct copy_level *level = add_level(fd);
  level->start = depth == 2 ? 0 : levels[depth - 2].end + 1;
  level->end = level->start + length;
  if (level->start > 0) path[level->start - 1] = '/';
  memcpy(path + level->start, name, length);
  if (made) look_at_made(level, first, in_plain);
  else look_at_old(level);
  if (depth > 2) close_above(depth - 2);
  return true;
}

static void open_again(size_t index) {
  struct copy_level *level = &levels[index];
  struct stat file;
  if (level->fd >= 0) return;
  level->fd = openat(levels[index + 1].fd, "..", OPEN_DIRECTORY);
  if (level->fd < 0 || fstat(level->fd, &file) < 0 || file.st_dev != level->device || file.st_ino != level->inode)
    copy_fail("a directory was moved by somebody while it was written");
}

static void put_in_place(void) {
  struct copy_level *parent = &levels[depth - 1];
  const struct copy_level *level = &levels[depth];
  char name[NAME_MAX + 1];
  memcpy(name, path + level->start, level->end - level->start);
  name[level->end - level->start] = 0;
  // musl has no renameat2.
  long n = syscall(SYS_renameat2, parent->fd, staged_name, parent->fd, name, RENAME_NOREPLACE);
  if (n < 0 && errno == EINVAL) {
    struct stat file;
    errno = EEXIST;
    if (fstatat(parent->fd, name, &file, AT_SYMLINK_NOFOLLOW) < 0) n = renameat(parent->fd, staged_name, parent->fd, name);
  }
  if (n < 0) copy_fail("cannot put %s in place: %s", name, strerror(errno));
  staged = 0;
  placed_entries += staged_entries;
}

static void leave(void) {
  struct copy_level *level = &levels[depth - 1];
  if (depth > 1) open_again(depth - 2);
  path[level->end] = 0;
  copy_set_directory_at_end(level, path);
  free(level->acl[0]);
  free(level->acl[1]);
  close(level->fd);
  depth--;
  if (staged && staged == depth) put_in_place();
}

// How many levels from the root are on the way to that path.
static size_t shared(const char *to, size_t length) {
  size_t same = 0, end = levels[depth - 1].end;
  while (same < length && same < end && to[same] == path[same]) same++;
  size_t n = 1;
  while (n < depth && levels[n].end <= same && (levels[n].end == length || to[levels[n].end] == '/')) n++;
  return n;
}

struct copy_level *copy_place_enter(const char *to, size_t length, const char *shown) {
  size_t n = shared(to, length);
  while (depth > n) leave();
  size_t at = levels[depth - 1].end + (depth > 1);
  while (at < length) {
    size_t part = strcspn(to + at, "/");
    if (part > length - at) part = length - at;
    if (!step(to + at, part, shown)) return NULL;
    at += part + 1;
  }
  return &levels[depth - 1];
}

int copy_place_find(const char *to, size_t length) {
  size_t n = shared(to, length);
  while (levels[n - 1].fd < 0) n--;
  size_t at = levels[n - 1].end + (n > 1);
  int fd = openat(levels[n - 1].fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  while (fd >= 0 && at < length) {
    char name[NAME_MAX + 1];
    size_t part = strcspn(to + at, "/");
    if (part > length - at) part = length - at;
    int next = -1, error = ENAMETOOLONG;
    if (part <= NAME_MAX) {
      memcpy(name, to + at, part);
      name[part] = 0;
      next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      error = errno;
    }
    close(fd);
    errno = error;
    fd = next;
    at += part + 1;
  }
  return fd;
}

void copy_place_close(void) {
  while (depth > 1) leave();
  if (copy_destination_owns_root()) {
    path[0] = 0;
    copy_set_directory_at_end(levels, ".");
  }
}

void copy_place_undo(void) {
  if (!staged) return;
  int parent = levels[staged - 1].fd;
  for (size_t i = staged; i < depth; i++)
    if (levels[i].fd >= 0) close(levels[i].fd);
  staged = 0;
  if (!copy_remove_tree(parent, staged_name)) copy_problem("%s is left of what was begun, and can be removed", staged_name);
}
