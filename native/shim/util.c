#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void fail(int status, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dprintf(1, "error %s\n", text);
  dprintf(2, "shim: %s\n", text);
  exit(status);
}

unsigned long parse_number(const char *option, const char *text, unsigned long low, unsigned long high) {
  char *end = NULL;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < low || value > high)
    fail(EXIT_USAGE, "%s: not a number from %lu to %lu: %s", option, low, high, text);
  return value;
}

bool write_all(int fd, const void *data, size_t size) {
  const char *at = data;
  while (size > 0) {
    ssize_t n = write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

bool write_file(const char *path, const char *text) {
  char temp[PATH_MAX];
  if (snprintf(temp, sizeof temp, "%s.tmp", path) >= (int)sizeof temp) { errno = ENAMETOOLONG; return false; }
  int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  bool ok = write_all(fd, text, strlen(text));
  int saved = errno;
  if (close(fd) != 0 && ok) { ok = false; saved = errno; }
  if (ok && rename(temp, path) != 0) { ok = false; saved = errno; }
  if (!ok) { unlink(temp); errno = saved; }
  return ok;
}

void format_now(char *out, size_t size) {
  time_t now = time(NULL);
  struct tm parts;
  if (gmtime_r(&now, &parts) == NULL || strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) out[0] = '\0';
}

static void point_to_null(int fd, int flags) {
  int null = open("/dev/null", flags | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, fd);
  if (null != fd) close(null);
}

void announce(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vdprintf(1, format, args);
  va_end(args);
  // The starter reads one line; a pipe kept open would keep it waiting or hold its descriptor for the VM's life.
  point_to_null(1, O_WRONLY);
}

void detach(void) {
  setsid(); // fails when we lead a session already, which is as good
  point_to_null(0, O_RDONLY);
  syscall(SYS_close_range, 3U, ~0U, 0U);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  umask(077);
}

static void signal_set(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGCHLD);
  sigaddset(set, SIGTERM);
  sigaddset(set, SIGINT);
}

int open_signals(void) {
  sigset_t set;
  signal_set(&set);
  if (sigprocmask(SIG_SETMASK, &set, NULL) != 0) fail(EXIT_SETUP, "sigprocmask: %s", strerror(errno));
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) fail(EXIT_SETUP, "signalfd: %s", strerror(errno));
  return fd;
}

void reset_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGHUP, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
}
