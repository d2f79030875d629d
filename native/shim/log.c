#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_current(const char *path) {
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

void log_open(struct bounded_log *log, const char *path, size_t max) {
  log->path = path;
  log->half = max / 2;
  log->fd = open_current(path);
  struct stat info;
  if (log->fd < 0 || fstat(log->fd, &info) != 0) fail(EXIT_SETUP, "cannot open log %s: %s", path, strerror(errno));
  log->size = (size_t)info.st_size;
}

static void rotate(struct bounded_log *log) {
  char previous[PATH_MAX];
  if (snprintf(previous, sizeof previous, "%s.1", log->path) < (int)sizeof previous && rename(log->path, previous) == 0) {
    int next = open_current(log->path);
    if (next >= 0) {
      close(log->fd);
      log->fd = next;
      log->size = 0;
      return;
    }
    rename(previous, log->path);
  }
  // No second file to be had: the bound matters more than the history.
  if (ftruncate(log->fd, 0) == 0) log->size = 0;
}

void log_write(struct bounded_log *log, const char *data, size_t size) {
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
