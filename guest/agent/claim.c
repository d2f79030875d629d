// One agent a guest. With systemd the first is started before it, to serve from the beginning; systemd's own service comes
// later, takes the first into its control group, and stands by for its end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server.h"
#include "util.h"

#define LOCK_PATH "/run/banger/agent.lock"

// Control groups of version 2: the line "0::/path" of /proc/self/cgroup.
static void adopt(pid_t pid) {
  char line[512], path[600];
  if (!read_line("/proc/self/cgroup", line, sizeof line) || strncmp(line, "0::/", 4) != 0) return;
  snprintf(path, sizeof path, "/sys/fs/cgroup%s/cgroup.procs", line + 3);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || dprintf(fd, "%d", (int)pid) < 0) say("%s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
}

void claim_guest(void) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, holder = lock;
  // Never closed: the lock is this process's until it ends.
  int fd = open(LOCK_PATH, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    say("%s: %s", LOCK_PATH, strerror(errno));
    return;
  }
  if (fcntl(fd, F_SETLK, &lock) == 0) return;
  if (fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0) adopt(holder.l_pid);
  while (fcntl(fd, F_SETLKW, &lock) < 0 && errno == EINTR) continue;
}
