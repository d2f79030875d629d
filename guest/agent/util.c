#define _GNU_SOURCE
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int kernel_log = -1;
static char problems[4096];
static size_t problems_length;

void log_to_kernel(void) {
  if (kernel_log < 0) kernel_log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
}

// Level 3 (error) passes a `quiet` console.
static void log_line(int level, const char *format, va_list args) {
  char text[512];
  int at = kernel_log >= 0 ? snprintf(text, sizeof text, "<%d>banger: ", level) : snprintf(text, sizeof text, "banger: ");
  int n = vsnprintf(text + at, sizeof text - (size_t)at - 1, format, args);
  if (n < 0) return;
  size_t length = (size_t)at + (size_t)n;
  if (length > sizeof text - 2) length = sizeof text - 2;
  text[length++] = '\n';
  if (write(kernel_log >= 0 ? kernel_log : 2, text, length) < 0) return;
}

void say(const char *format, ...) {
  va_list args;
  va_start(args, format);
  log_line(6, format, args);
  va_end(args);
}

void problem(const char *format, ...) {
  va_list args;
  va_start(args, format);
  log_line(3, format, args);
  va_end(args);
  if (problems_length + 256 > sizeof problems) return;
  va_start(args, format);
  int n = vsnprintf(problems + problems_length, 255, format, args);
  va_end(args);
  if (n < 0) return;
  for (int i = 0; i < n && i < 254; i++)
    if (problems[problems_length + (size_t)i] == '\n') problems[problems_length + (size_t)i] = ' ';
  problems_length += n < 254 ? (size_t)n : 254;
  problems[problems_length++] = '\n';
}

void problems_save(const char *path) {
  if (!write_file(path, 0644, problems, problems_length)) say("cannot write %s: %s", path, strerror(errno));
}

int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sleep_ms(int ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  nanosleep(&t, NULL);
}

static char *read_fd(int fd, size_t limit, size_t *length) {
  size_t size = 4096, have = 0;
  char *text = malloc(size);
  while (text) {
    if (have + 1 == size) {
      if (size >= limit) {
        errno = EFBIG;
        break;
      }
      size = size * 2;
      char *larger = realloc(text, size);
      if (!larger) break;
      text = larger;
    }
    ssize_t n = read(fd, text + have, size - have - 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    if (n == 0) {
      text[have] = 0;
      if (length) *length = have;
      return text;
    }
    have += (size_t)n;
  }
  free(text);
  return NULL;
}

char *read_file(const char *path, size_t limit, size_t *length) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  char *text = read_fd(fd, limit, length);
  int error = errno;
  close(fd);
  errno = error;
  return text;
}

bool write_all(int fd, const void *data, size_t length) {
  const char *at = data;
  while (length > 0) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    at += n;
    length -= (size_t)n;
  }
  return true;
}

bool write_file(const char *path, unsigned mode, const void *data, size_t length) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, (mode_t)(mode & 0700));
  if (fd < 0) return false;
  bool ok = write_all(fd, data, length) && fchmod(fd, (mode_t)mode) == 0;
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

bool read_line(const char *path, char *line, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, line, size - 1);
  close(fd);
  if (n < 0) return false;
  line[n] = 0;
  line[strcspn(line, "\n")] = 0;
  return true;
}

static bool make_dir(const char *path) { return mkdir(path, 0755) == 0 || errno == EEXIST; }

bool make_parent_dirs(const char *path) {
  char *copy = strdup(path);
  if (!copy) return false;
  bool ok = true;
  for (char *at = strchr(copy + 1, '/'); ok && at; at = strchr(at + 1, '/')) {
    *at = 0;
    ok = make_dir(copy);
    *at = '/';
  }
  free(copy);
  return ok;
}

bool make_dirs(const char *path) { return make_parent_dirs(path) && make_dir(path); }

bool set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

void *must_alloc(size_t size) {
  void *memory = calloc(1, size);
  if (!memory) {
    say("out of memory");
    abort();
  }
  return memory;
}

char *must_copy(const char *text) {
  size_t size = strlen(text) + 1;
  return memcpy(must_alloc(size), text, size);
}
