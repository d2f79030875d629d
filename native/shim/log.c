#define _GNU_SOURCE
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BOOT = 999999999 };

static bool boot_path(const struct boot_log *log, unsigned long boot, const char *end, char path[PATH_MAX]) {
  return snprintf(path, PATH_MAX, "%s/%lu.log%s", log->dir, boot, end) < PATH_MAX;
}

/// The boot that a file name of the directory belongs to; 0 for any other name.
static unsigned long boot_of(const char *name) {
  char *end = NULL;
  if (name[0] < '1' || name[0] > '9') return 0;
  unsigned long boot = strtoul(name, &end, 10);
  if (boot > MAX_BOOT || (strcmp(end, ".log") != 0 && strcmp(end, ".log.1") != 0)) return 0;
  return boot;
}

/// Removes the logs of all boots before `oldest`; answers the newest boot there is, 0 without one.
static unsigned long prune(const struct boot_log *log, unsigned long oldest) {
  unsigned long newest = 0;
  DIR *dir = opendir(log->dir);
  if (dir == NULL) return 0;
  struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    unsigned long boot = boot_of(entry->d_name);
    if (boot > newest) newest = boot;
    if (boot > 0 && boot < oldest) unlinkat(dirfd(dir), entry->d_name, 0);
  }
  closedir(dir);
  return newest;
}

static int open_boot(const struct boot_log *log, unsigned long boot) {
  char path[PATH_MAX];
  if (!boot_path(log, boot, "", path)) { errno = ENAMETOOLONG; return -1; }
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool begin(struct boot_log *log, unsigned long boot) {
  int fd = open_boot(log, boot);
  if (fd < 0) return false;
  if (log->fd >= 0) close(log->fd);
  log->fd = fd;
  log->boot = boot;
  log->size = 0;
  log->has_older = false;
  if (boot > log->keep) prune(log, boot - log->keep + 1);
  return true;
}

void log_open(struct boot_log *log, const char *dir, struct log_limits limits) {
  *log = (struct boot_log){ .dir = dir, .half = limits.max / 2, .keep = limits.keep, .fd = -1 };
  if (mkdir(dir, 0700) != 0 && errno != EEXIST) fail(EXIT_SETUP, "cannot make %s: %s", dir, strerror(errno));
  unsigned long newest = prune(log, 0);
  if (newest >= MAX_BOOT) { prune(log, ULONG_MAX); newest = 0; }
  if (!begin(log, newest + 1)) fail(EXIT_SETUP, "cannot open the log of boot %lu in %s: %s", newest + 1, dir, strerror(errno));
}

void log_next_boot(struct boot_log *log) {
  // A machine may reset more than once on its way up; what said nothing is no boot of its own.
  if ((log->size == 0 && !log->has_older) || log->boot >= MAX_BOOT) return;
  // Where no file can be had the log goes on in the one that is open.
  begin(log, log->boot + 1);
}

static void rotate(struct boot_log *log) {
  char current[PATH_MAX], older[PATH_MAX];
  if (boot_path(log, log->boot, "", current) && boot_path(log, log->boot, ".1", older) && rename(current, older) == 0) {
    int next = open_boot(log, log->boot);
    if (next >= 0) {
      close(log->fd);
      log->fd = next;
      log->size = 0;
      log->has_older = true;
      return;
    }
    rename(older, current);
  }
  // No second file to be had: the bound matters more than the history.
  if (ftruncate(log->fd, 0) == 0) log->size = 0;
}

void log_write(struct boot_log *log, const char *data, size_t size) {
  while (size > 0) {
    if (log->size >= log->half) rotate(log);
    if (log->size >= log->half) return;
    size_t room = log->half - log->size;
    size_t part = size < room ? size : room;
    ssize_t n = write(log->fd, data, part);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    log->size += (size_t)n;
    data += n;
    size -= (size_t)n;
  }
}
