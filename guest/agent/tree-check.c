// What is at paths, against what the host expects there.
#define _GNU_SOURCE
#include "../../native/copy/walk.h"
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct facts {
  // f, l, d, D: a directory with `size` leaves, o: something else, -: nothing.
  char type;
  unsigned mode;
  int64_t size, seconds;
  long nanoseconds;
};

// Digits up to `end`, which is left behind. False: none, or too many.
static bool take_number(char **at, unsigned base, char end, int64_t *value) {
  char *from = *at;
  bool negative = base == 10 && *from == '-';
  uint64_t n = 0;
  from += negative;
  int digits = 0;
  for (; *from >= '0' && *from < (char)('0' + base) && digits < 18; digits++) n = n * base + (uint64_t)(*from++ - '0');
  if (digits == 0 || *from != end) return false;
  *value = negative ? -(int64_t)n : (int64_t)n;
  *at = from + 1;
  return true;
}

static bool parse(char *record, struct facts *facts, char **path) {
  int64_t mode, nanoseconds;
  char *at = record;
  if (!*at || !strchr("fldD-", *at) || at[1] != ' ') return false;
  facts->type = *at;
  at += 2;
  if (!take_number(&at, 8, ' ', &mode) || !take_number(&at, 10, ' ', &facts->size) || !take_number(&at, 10, '.', &facts->seconds)) return false;
  char *fraction = at;
  if (*fraction == '-' || !take_number(&at, 10, ' ', &nanoseconds) || at - fraction != 10) return false;
  facts->mode = (unsigned)mode;
  facts->nanoseconds = (long)nanoseconds;
  *path = at;
  return copy_walk_is_path(at);
}

static void describe(const struct stat *is, struct facts *facts) {
  facts->type = S_ISREG(is->st_mode) ? 'f' : S_ISLNK(is->st_mode) ? 'l' : S_ISDIR(is->st_mode) ? 'd' : 'o';
  facts->mode = is->st_mode & 07777;
  facts->size = is->st_size;
  facts->seconds = is->st_mtim.tv_sec;
  facts->nanoseconds = is->st_mtim.tv_nsec;
}

// Nothing can be behind what is missing, nor behind a file; what is behind a link, or cannot be told, is something else.
static char type_behind(const char *path, size_t length) {
  char name[NAME_MAX + 1];
  struct stat is;
  size_t end;
  int error = errno, stands = copy_walk_stands(&end);
  if (error == ENOENT || error == ENAMETOOLONG) return '-';
  if (error != ENOTDIR || end >= length || !copy_walk_name(path, end, length, name) || fstatat(stands, name, &is, AT_SYMLINK_NOFOLLOW) < 0) return 'o';
  return S_ISLNK(is.st_mode) || S_ISDIR(is.st_mode) ? 'o' : '-';
}

// What is below that is no directory with entries, up to more than the limit. A directory that cannot be read has more, too.
static int64_t leaves(int parent, const char *name, int64_t limit) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  struct dirent *entry;
  int64_t count = 0;
  if (!dir) {
    if (fd >= 0) close(fd);
    return limit + 1;
  }
  while (count <= limit && (entry = readdir(dir))) {
    struct stat is;
    const char *inner = entry->d_name;
    if (strcmp(inner, ".") == 0 || strcmp(inner, "..") == 0) continue;
    int64_t more = fstatat(fd, inner, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(is.st_mode) ? leaves(fd, inner, limit - count) : 0;
    count += more ? more : 1;
  }
  closedir(dir);
  return count;
}

static void look(const char *path, const struct facts *wanted, struct facts *found) {
  char name[NAME_MAX + 1];
  struct stat is;
  const char *slash = strrchr(path, '/');
  size_t parent = slash ? (size_t)(slash - path) : 0;
  *found = (struct facts){.type = '-'};
  int fd = copy_walk_to(path, parent);
  if (fd < 0) found->type = type_behind(path, parent);
  else if (!copy_walk_name(path, parent, strlen(path), name)) return;
  else if (fstatat(fd, name, &is, AT_SYMLINK_NOFOLLOW) == 0) {
    describe(&is, found);
    if (wanted->type == 'D' && found->type == 'd') found->size = leaves(fd, name, wanted->size);
  }
  else if (errno != ENOENT) found->type = 'o';
}

static bool holds(const struct facts *wanted, const struct facts *found) {
  if (wanted->type == 'D') return found->type == 'd' && wanted->size == found->size;
  if (wanted->type != found->type) return false;
  if (wanted->type == 'd' || wanted->type == '-') return true;
  bool same = wanted->size == found->size && wanted->seconds == found->seconds && wanted->nanoseconds == found->nanoseconds;
  return same && (wanted->type == 'l' || ((wanted->mode ^ found->mode) & 0100) == 0);
}

static void tell(const struct facts *found, const char *path) {
  printf("%c %o %" PRId64 " %" PRId64 ".%09ld %s%c", found->type, found->mode, found->size, found->seconds, found->nanoseconds, path, 0);
}

int tree_check(const char *root) {
  static const struct copy_walk walk = {0};
  static char buffer[65536];
  struct facts wanted, found;
  char *record, *path;
  int fd = tree_open_root(root);
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  if (fd >= 0) copy_walk_begin(fd, &walk);
  while ((record = tree_next())) {
    if (!parse(record, &wanted, &path)) tree_refuse("no record: %.200s", record);
    found = (struct facts){.type = '-'};
    if (fd >= 0) look(path, &wanted, &found);
    if (!holds(&wanted, &found)) tell(&found, path);
    if (ferror(stdout)) break;
  }
  if (ferror(stdout) || fflush(stdout) != 0) tree_problem("cannot write what differs: %s", strerror(errno));
  return tree_result();
}
