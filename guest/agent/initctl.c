// Requests of sysvinit's tools (initreq.h there) to the process they take for init: `reboot`, `shutdown`, `telinit`. Those of
// systemd write them too when no systemd runs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"
#include "util.h"

#define REQUEST_SIZE 384
#define REQUEST_MAGIC 0x03091969
#define COMMAND_RUNLEVEL 1
// More than a pipe holds: a writer that never ends must not hold up the loop.
#define MAX_READS 32

// The beginning of a request, as the writer's machine lays it out; times, names and padding follow.
struct request_head {
  int32_t magic, command, runlevel;
};

static enum shutdown_how act_on(const struct request_head *head) {
  if (head->command == COMMAND_RUNLEVEL && head->runlevel == '0') return SHUTDOWN_POWEROFF;
  if (head->command == COMMAND_RUNLEVEL && head->runlevel == '6') return SHUTDOWN_REBOOT;
  say("initctl: ignored command %d, runlevel %d", (int)head->command, (int)head->runlevel);
  return SHUTDOWN_NONE;
}

size_t initctl_parse(const uint8_t *data, size_t length, enum shutdown_how *how) {
  static const int32_t magic = REQUEST_MAGIC;
  size_t at = 0;
  while (length - at >= sizeof magic) {
    struct request_head head;
    if (memcmp(data + at, &magic, sizeof magic) != 0) {
      // Not a request's beginning; one may follow at any byte.
      at++;
      continue;
    }
    if (length - at < REQUEST_SIZE) break;
    memcpy(&head, data + at, sizeof head);
    enum shutdown_how wanted = act_on(&head);
    // The first counts: what it asks for has begun when the next is read.
    if (*how == SHUTDOWN_NONE) *how = wanted;
    at += REQUEST_SIZE;
  }
  return at;
}

enum shutdown_how initctl_take(int fd) {
  uint8_t data[4096];
  size_t have = 0;
  enum shutdown_how how = SHUTDOWN_NONE;
  for (int i = 0; i < MAX_READS; i++) {
    ssize_t n = read(fd, data + have, sizeof data - have);
    if (n <= 0) break;
    have += (size_t)n;
    size_t used = initctl_parse(data, have, &how);
    have -= used;
    memmove(data, data + used, have);
  }
  // A pipe takes a request whole or not at all, so what is left now will never become one.
  if (have > 0) say("initctl: ignored %zu bytes that are no request", have);
  return how;
}

int initctl_open(const char *path) {
  unlink(path);
  // Open for writing too: without a writer it would be at its end all the time.
  int fd = mkfifo(path, 0600) == 0 ? open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC) : -1;
  if (fd < 0) say("cannot make %s: %s", path, strerror(errno));
  return fd;
}
