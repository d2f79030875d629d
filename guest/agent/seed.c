// The first-boot copy. Everything goes into `.banger-seed.part`; complete and on disk, that becomes `.banger-seed.done`, whose
// entries then move up one by one. So a cut at any instant leaves a state from which the next boot goes on. The end is
// written on the file system's root inode as an attribute that user space does not see.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

#define PART ".banger-seed.part"
#define DONE ".banger-seed.done"
#define MARKER "trusted.banger.seeded"

static bool is_dot(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

// Through /proc, because the extended attribute calls have no form relative to a directory.
static void copy_xattrs(const char *from, const char *to) {
  char names[4096], value[4096];
  ssize_t length = llistxattr(from, names, sizeof names);
  for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
    ssize_t size = strcmp(name, MARKER) == 0 ? -1 : lgetxattr(from, name, value, sizeof value);
    if (size >= 0 && lsetxattr(to, name, value, (size_t)size, 0) < 0) say("attribute %s of %s: %s", name, to, strerror(errno));
  }
}

// Owner first: changing it clears the setuid bit.
static bool copy_attributes(const struct stat *st, const char *from, const char *to) {
  struct timespec times[2] = {st->st_atim, st->st_mtim};
  if (lchown(to, st->st_uid, st->st_gid) < 0) return false;
  if (!S_ISLNK(st->st_mode) && chmod(to, st->st_mode & 07777) < 0) return false;
  copy_xattrs(from, to);
  return utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool copy_content(const char *from, const char *to) {
  int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool ok = in >= 0 && out >= 0;
  while (ok) {
    ssize_t n = sendfile(out, in, NULL, 1 << 20);
    if (n == 0) break;
    ok = n > 0 || errno == EINTR;
  }
  int error = errno;
  close_fd(&in);
  close_fd(&out);
  errno = error;
  return ok;
}

static bool copy_link(const char *from, const char *to) {
  char target[PATH_MAX];
  ssize_t n = readlink(from, target, sizeof target - 1);
  if (n < 0) return false;
  target[n] = 0;
  return symlink(target, to) == 0;
}

static bool copy_entries(const char *from, const char *to);

static bool copy_entry(const char *from, const char *to) {
  struct stat st;
  if (lstat(from, &st) < 0) return false;
  bool ok = true;
  if (S_ISDIR(st.st_mode))
    ok = mkdir(to, 0700) == 0 && copy_entries(from, to);
  else if (S_ISREG(st.st_mode))
    ok = copy_content(from, to);
  else if (S_ISLNK(st.st_mode))
    ok = copy_link(from, to);
  else if (S_ISSOCK(st.st_mode))
    return true;
  else
    ok = mknod(to, st.st_mode, st.st_rdev) == 0;
  return ok && copy_attributes(&st, from, to);
}

// Calls `each` for every entry of `from`, with both paths joined to its name.
static bool for_entries(const char *from, const char *to, bool (*each)(const char *, const char *)) {
  DIR *dir = opendir(from);
  if (!dir) return false;
  bool ok = true;
  struct dirent *entry;
  while (ok && (entry = readdir(dir))) {
    char a[PATH_MAX], b[PATH_MAX];
    if (is_dot(entry->d_name)) continue;
    if (snprintf(a, sizeof a, "%s/%s", from, entry->d_name) >= PATH_MAX || snprintf(b, sizeof b, "%s/%s", to, entry->d_name) >= PATH_MAX) {
      errno = ENAMETOOLONG;
      ok = false;
    } else {
      ok = each(a, b);
    }
  }
  int error = errno;
  closedir(dir);
  errno = error;
  return ok;
}

static bool copy_entries(const char *from, const char *to) { return for_entries(from, to, copy_entry); }

static bool remove_entry(const char *path, const char *unused) {
  (void)unused;
  struct stat st;
  if (lstat(path, &st) < 0) return false;
  if (!S_ISDIR(st.st_mode)) return unlink(path) == 0;
  return for_entries(path, path, remove_entry) && rmdir(path) == 0;
}

static bool move_entry(const char *from, const char *to) { return rename(from, to) == 0; }

static bool sync_fs(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = syncfs(fd) == 0;
  close(fd);
  return ok;
}

static bool is_empty(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) return false;
  bool empty = true;
  struct dirent *entry;
  while ((entry = readdir(dir)))
    if (!is_dot(entry->d_name) && strcmp(entry->d_name, "lost+found") != 0 && strcmp(entry->d_name, PART) != 0) empty = false;
  closedir(dir);
  return empty;
}

// An image whose directory has a lost+found of its own: the file system's stays.
static bool drop_lost_and_found(const char *part) {
  char path[160];
  snprintf(path, sizeof path, "%.128s/lost+found", part);
  return access(path, F_OK) != 0 || remove_entry(path, NULL);
}

static bool fill_part(const char *from, const char *part, const char *done) {
  struct stat st;
  if (lstat(part, &st) == 0 && !remove_entry(part, NULL)) return false;
  if (mkdir(part, 0700) < 0) return false;
  if (stat(from, &st) == 0 && S_ISDIR(st.st_mode) && !copy_entries(from, part)) return false;
  return drop_lost_and_found(part) && sync_fs(part) && rename(part, done) == 0;
}

bool seed_directory(const char *from, const char *to) {
  char part[128], done[128];
  struct stat st;
  if (lgetxattr(to, MARKER, NULL, 0) >= 0) return true;
  snprintf(part, sizeof part, "%.100s/" PART, to);
  snprintf(done, sizeof done, "%.100s/" DONE, to);
  if (lstat(done, &st) < 0) {
    // Somebody's own file system: never touched, not even with the marker.
    if (!is_empty(to)) return true;
    if (!fill_part(from, part, done)) return false;
  }
  if (!for_entries(done, to, move_entry) || rmdir(done) < 0) return false;
  if (stat(from, &st) == 0 && !copy_attributes(&st, from, to)) return false;
  return lsetxattr(to, MARKER, "1", 1, 0) == 0;
}
