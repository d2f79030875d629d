// Paths below one directory that come one after another, mostly neighbours: the directories on the way to the current one stay open.
#ifndef BANGER_COPY_WALK_H
#define BANGER_COPY_WALK_H
#include <stdbool.h>
#include <stddef.h>

#define COPY_WALK_PATH 4096

struct copy_walk {
  // A directory was opened; `path` of `length` bytes leads to it. May be NULL.
  void (*entered)(int fd, const char *path, size_t length);
  // A directory was closed; it is called `name` in `parent`. May be NULL.
  void (*left)(int parent, const char *name);
};

// Neither absolute nor with an empty part, `.` or `..`; COPY_WALK_PATH bytes at most.
bool copy_walk_is_path(const char *path);
// Begins at that directory, which stays the caller's. A walk before it is ended.
void copy_walk_begin(int base, const struct copy_walk *walk);
// The directory that the first `length` bytes of a path lead to, by steps that follow no symlink; the walk's own. -1 with errno: ENOTDIR for a symlink, too.
int copy_walk_to(const char *path, size_t length);
// The part of a path behind its first `end` bytes, up to `length`, as a name of NAME_MAX + 1 bytes. False with errno: it is too long for one.
bool copy_walk_name(const char *path, size_t end, size_t length, char *name);
void copy_walk_end(void);
// How far the last walk that failed came: where it stands, and the bytes of the path that lead there.
int copy_walk_stands(size_t *end);
#endif
